//go:build unix

package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"go/version"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// told is what handlers and hooks learn of a connection.
type told struct {
	mu     sync.Mutex
	states []http.ConnState
	types  map[string]bool
}

func (o *told) server(h http.HandlerFunc) *http.Server {
	see := func(nc net.Conn) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.types == nil {
			o.types = map[string]bool{}
		}
		o.types[fmt.Sprintf("%T", nc)] = true
	}
	type key struct{}
	return &http.Server{
		ConnState: func(nc net.Conn, state http.ConnState) {
			see(nc)
			o.mu.Lock()
			defer o.mu.Unlock()
			o.states = append(o.states, state)
		},
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			see(nc)
			return context.WithValue(ctx, key{}, ctx.Value(http.ServerContextKey))
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			srv := r.Context().Value(http.ServerContextKey).(*http.Server)
			local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
			if srv.ConnContext == nil || srv != r.Context().Value(key{}) || local == nil || r.RemoteAddr == "" {
				http.Error(w, "no context", http.StatusInternalServerError)
				return
			}
			h(w, r)
		}),
	}
}

// Handlers and hooks learn of a connection of HTTP/2 over TLS that has moved what they learn of others.
func TestHTTP2OverTLSMovesUnseen(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			say := func(w http.ResponseWriter, r *http.Request) {
				cs := *r.TLS
				_, exports := cs.ExportKeyingMaterial("EXPORTER-x", nil, 8)
				_, _ = fmt.Fprint(w, r.ProtoMajor, " ", r.URL.Scheme,
					tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite), cs.CurveID, cs.DidResume,
					cs.ServerName, cs.NegotiatedProtocol, cs.HandshakeComplete, cs.TLSUnique, exports == nil)
			}
			var before, after told
			srv := before.server(say)
			one := firstHTTP2(t, "h2", srv)
			c := dialSealed(t, one, version)
			ask := func(stream uint32) string {
				c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|h2frame.FlagEndStream, stream, postHead)
				for !c.ended[stream] {
					c.until(0)
				}
				return c.bodies[stream]
			}
			want := ask(1)
			two := move(t, one, after.server(say))
			first := strings.TrimSuffix(want, "true") // but ExportKeyingMaterial
			got := ask(3)
			same := strings.TrimSuffix(got, "false") == strings.TrimSuffix(want, "false")
			if got != first+"false" && (version != tls.VersionTLS12 || !same) {
				t.Errorf("%q, want %q", got, want)
			}
			// OPTIONS * is net/http's own
			c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|h2frame.FlagEndStream, 5,
				[]byte("\x02\x07OPTIONS\x87\x04\x01*\x01\x01x"))
			for f := c.next(); f.kind != h2frame.TypeHeaders || f.flags&h2frame.FlagEndStream == 0; f = c.next() {
			}
			_ = c.nc.Close()
			two.await(t, "still open", func(n Counts) bool { return n.Open() == 0 })
			two.await(t, "not closed", func(Counts) bool {
				after.mu.Lock()
				defer after.mu.Unlock()
				return slices.Contains(after.states, http.StateClosed)
			})
			after.mu.Lock()
			defer after.mu.Unlock()
			if len(after.types) != 1 || !after.types["*tls.Conn"] {
				t.Errorf("hooks see %v", after.types)
			}
			begin := []http.ConnState{http.StateNew, http.StateActive, http.StateIdle}
			if got := after.states[:min(3, len(after.states))]; !slices.Equal(got, begin) {
				t.Errorf("%v, want %v first", after.states, begin)
			}
		})
	}
}

// Where the next server would not have it, or it is to stay, a connection is told to leave, and loses nothing.
func TestHTTP2OverTLSThatStays(t *testing.T) {
	t.Parallel()
	h2 := func() *tls.Config { return certified("h2", "http/1.1") }
	newer := h2()
	newer.MinVersion = tls.VersionTLS13
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	for name, x := range map[string]struct {
		version uint16
		say     func(t *testing.T, c *h2Sealed, one *generation)
		to      func(from *generation) *generation
	}{
		"KeepTLS":          {say: func(_ *testing.T, _ *h2Sealed, one *generation) { one.set.KeepTLS() }},
		"KeepHTTP2OverTLS": {say: func(_ *testing.T, _ *h2Sealed, one *generation) { one.set.KeepHTTP2OverTLS() }},
		"a version of TLS that is forbidden": {version: tls.VersionTLS12,
			to: func(from *generation) *generation { return nextTLS(t, from, new(http.Server), newer) }},
		"no HTTP/2 is offered any more": {to: func(from *generation) *generation {
			return nextTLS(t, from, new(http.Server), certified("http/1.1"))
		}},
		"HTTP/2 is off": {
			to: func(from *generation) *generation { return nextTLS(t, from, &http.Server{Protocols: http1}, h2()) }},
		"no TLS any more": {to: func(from *generation) *generation {
			return next(t, from, &http.Server{Protocols: func() *http.Protocols {
				p := new(http.Protocols)
				p.SetHTTP1(true)
				p.SetUnencryptedHTTP2(true)
				return p
			}()})
		}},
		"a key update": {version: tls.VersionTLS13, say: func(t *testing.T, c *h2Sealed, one *generation) {
			mustWrite(t, c.under.Conn, keyUpdate(t, c.nc.(*tls.Conn), c.secrets.String(), c.records()))
			one.await(t, "unread", func(Counts) bool { return one.unread() == 0 })
		}},
		"a suite that can't move": {version: tls.VersionTLS12, say: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := h2()
			if name == "a suite that can't move" {
				config.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
			}
			one := nextTLS(t, nil, &http.Server{ErrorLog: log.New(io.Discard, "", 0)}, config)
			c := dialSealed(t, one, x.version)
			c.post(1, "a")
			c.wantAnswer(1, "a")
			if x.say != nil {
				x.say(t, c, one)
			}
			to := x.to
			if to == nil {
				to = func(from *generation) *generation { return nextHTTP2(t, from, new(http.Server)) }
			}
			two := to(one)
			one.depart(t, one.handTo(two), 3*time.Second) // half of which it may wait to move
			c.wantGoAway(h2frame.MaxStream)
			if name != "a key update" { // of which this client's TLS doesn't know
				c.post(3, "b")
				c.goesOn(3, "b")
			}
			if n := one.set.Counts(); n.Moved != 0 || n.Lost != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A server that is closed leaves no connection behind, also of those that net/http doesn't know.
func TestHTTP2OverTLSEndsWithItsServer(t *testing.T) {
	t.Parallel()
	one, c := restingHTTP2(t, "h2")
	two := move(t, one, new(http.Server))
	c.post(3, "b")
	c.wantAnswer(3, "b")
	_ = two.srv.Close()
	for {
		f, err := c.read()
		if err != nil {
			break
		}
		if f.kind == h2frame.TypePing && f.flags == 0 {
			c.frame(h2frame.TypePing, h2frame.FlagAck, 0, f.payload)
		}
	}
	two.await(t, "still open", func(n Counts) bool { return n.Open() == 0 })
}

// A listener that ends alone ends no connection of its server, as with net/http: neither another's nor its own.
func TestHTTP2OverTLSOutlivesAListener(t *testing.T) {
	t.Parallel()
	one, c := restingHTTP2(t, "h2")
	two := move(t, one, new(http.Server))
	stream := uint32(1)
	goesOn := func() {
		t.Helper()
		for range 100 { // a GOAWAY would come in between
			stream += 2
			c.post(stream, "b")
			c.wantAnswer(stream, "b")
		}
	}
	other := mustListen(t, two.set, "tcp", "127.0.0.1:0")
	two.set.Open()
	over := make(chan error, 1)
	secured := two.set.TLSListener(two.srv, other, certified("h2"))
	go func() { over <- two.set.Serve(two.srv, secured) }()
	_ = other.Close()
	if err := <-over; errors.Is(err, http.ErrServerClosed) {
		t.Fatal(err)
	}
	goesOn()
	_ = two.ln.Close()
	goesOn()
}

// HTTP/2 that a function of another package serves can't be led, and is warned of. Over TLS whose connections can move
// it is served, too; such a connection stays, and ends with net/http's GOAWAY behind the next answer.
func TestUnledHTTP2OverTLS(t *testing.T) {
	t.Parallel()
	if version.Compare(version.Lang(runtime.Version()), "go1.27") >= 0 {
		t.Skip("needs net/http up to Go 1.26: from 1.27 on its function in TLSNextProto serves nothing")
	}
	own := new(http.Server)
	_ = own.ServeTLS(mustListen(t, New(Config{}), "tcp", loopback()), "\x00", "\x00") // which sets own up
	serve := own.TLSNextProto["h2"]
	srv := &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
		"h2": func(hs *http.Server, tc *tls.Conn, h http.Handler) { serve(hs, tc, h) },
	}}
	one := listening(t, nil)
	said := warnings(one.set)
	one.srv, srv.Handler = srv, echo(1)
	one.set.Track(srv)
	ln := one.set.TLSListener(srv, one.ln, certified("h2", "http/1.1"))
	one.serve(t, func() error { return one.set.Serve(srv, ln) })
	t.Cleanup(func() { _ = srv.Close() })
	c := dialHTTP2(t, one, "h2")
	c.frame(4, h2frame.FlagAck, 0, nil)
	c.post(1, "a")
	c.wantAnswer(1, "a")
	if all := said(); len(all) == 0 || !strings.Contains(all[0], "golang.org/x/net v0.31.0") {
		t.Errorf("%q", all)
	}
	wait := one.leave(t, nextTLS(t, one, new(http.Server), certified("h2", "http/1.1")))
	<-one.set.Shut()
	c.post(3, "b")
	c.wantGoAway(3)
	c.wantAnswer(3, "b")
	_ = c.nc.Close()
	wait()
	if n := one.set.Counts(); n.Moved != 0 || n.Lost != 0 || n.Open() != 0 {
		t.Errorf("%+v", n)
	}
}

// h2Sealed is a client of HTTP/2 whose records can be held back.
type h2Sealed struct {
	*h2
	under   *underTLS
	secrets *bytes.Buffer
}

func dialSealed(t testing.TB, g *generation, version uint16) *h2Sealed {
	t.Helper()
	under, secrets := &underTLS{Conn: dial(t, g).nc}, new(bytes.Buffer)
	tc := tls.Client(under, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"}, KeyLogWriter: secrets,
		MinVersion: version, MaxVersion: version,
	})
	check(t, tc.Handshake())
	c := &h2Sealed{h2: greetHTTP2(t, g, tc), under: under, secrets: secrets}
	c.frame(4, h2frame.FlagAck, 0, nil)
	return c
}

// records is how many records of data this client has sent: one for each write, of the preface, SETTINGS, their
// acknowledgement, and a request.
func (c *h2Sealed) records() byte { return 5 }

// A request whose records are cut at any byte by a move is answered once, by whichever process has all of it.
func TestHTTP2OverTLSIsCutByMoves(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			one := firstHTTP2(t, "h2", &http.Server{})
			c := dialSealed(t, one, version)
			for stream, cut := uint32(1), 0; ; stream, cut = stream+2, cut+1 {
				c.under.hold = true
				body := fmt.Sprint("cut at ", cut)
				c.post(stream, body)
				c.under.hold = false
				all := len(c.under.held)
				c.under.release(t, cut)
				two := nextHTTP2(t, one, new(http.Server))
				wait := one.leave(t, two)
				if cut > 0 && cut%3 == 0 { // also where the rest comes while nobody knows yet whose it is
					time.Sleep(time.Millisecond)
				}
				c.under.release(t, all)
				c.wantAnswer(stream, body)
				wait()
				if n := one.set.Counts(); n.Moved != 1 {
					t.Fatalf("cut at %d: %+v", cut, n)
				}
				if one = two; cut == all {
					break
				}
			}
		})
	}
}

// Whatever comes in the moment of a move that is no TLS ends the connection, and nothing else.
func TestHTTP2OverTLSAndGarbage(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"a record that nobody has sealed": "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32),
		"no record":                       "GET / HTTP/1.1\r\n\r\n",
		"a part of one":                   "\x17\x03\x03\x40\x00x",
		"an alert in plain text":          "\x15\x03\x03\x00\x02\x01\x00",
		"a handshake":                     "\x16\x03\x03\x00\x04\x01\x00\x00\x00",
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " early ", early), func(t *testing.T) {
				t.Parallel()
				quiet := func() *http.Server { return &http.Server{ErrorLog: log.New(io.Discard, "", 0)} }
				one := firstHTTP2(t, "h2", quiet())
				bad, good := dialSealed(t, one, 0), dialSealed(t, one, 0)
				for _, c := range []*h2Sealed{bad, good} {
					c.post(1, "a")
					c.wantAnswer(1, "a")
				}
				if early {
					mustWrite(t, bad.under.Conn, garbage)
				}
				two := nextHTTP2(t, one, quiet())
				wait := one.depart(t, one.handTo(two), time.Minute)
				if !early {
					mustWrite(t, bad.under.Conn, garbage)
				}
				good.post(3, "b")
				good.wantAnswer(3, "b")
				_ = bad.under.Conn.(interface{ CloseWrite() error }).CloseWrite()
				for {
					if _, err := bad.read(); err != nil {
						break
					}
				}
				_ = bad.under.Close()
				wait()
				two.await(t, "the other has not gone", func(n Counts) bool { return n.Open() == 1 })
				if n := one.set.Counts(); n.Lost != 0 || n.Moved < 1 {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

// A client that sends PINGs without a pause moves as others do, and each PING is answered once, in its order.
func TestHTTP2MovesUnderPings(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one, c := restingHTTP2(t, kind)
		const swaps, ahead = 5, 100 // net/http ends a connection that has 10,000 answers to take
		sent, stop := make(chan int, ahead), make(chan struct{})
		go func() {
			defer close(sent)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case sent <- n:
				}
				if _, err := c.nc.Write(rawFrame(h2frame.TypePing, 0, 0, fmt.Appendf(nil, "%08d", n))); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			for n := range sent {
				want := fmt.Sprintf("%08d", n)
				for got := ""; got != want; {
					f, err := c.read()
					got = string(f.payload)
					if err != nil || f.kind != 8 && (f.flags != h2frame.FlagAck || got != want) {
						t.Errorf("%+v, %v, want the answer to PING %d", f, err, n)
						return
					}
				}
			}
		}()
		defer func() { <-answered }()
		defer close(stop)
		for range swaps {
			one = move(t, one, new(http.Server))
		}
	})
}

// What another process sends may be anything.
func FuzzSplitState(f *testing.F) {
	f.Add(joinState([]byte("keys"), []byte("state")))
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, state, err := splitState(b)
		if err != nil {
			return
		}
		if again := joinState(bytes.Clone(keys), state); !bytes.Equal(again, b) {
			t.Errorf("%q becomes %q", b, again)
		}
	})
}
