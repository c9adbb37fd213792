//go:build unix

package listener

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// restingHTTP2 is a generation with a connection of HTTP/2 at rest, that has brought one request.
func restingHTTP2(t *testing.T, kind string) (*generation, *h2) {
	t.Helper()
	one := firstHTTP2(t, kind, &http.Server{})
	c := dialHTTP2(t, one, kind)
	c.frame(4, h2frame.FlagAck, 0, nil)
	c.post(1, "a")
	c.wantAnswer(1, "a")
	return one, c
}

// firstHTTP2 is serveHTTP2, with a TLS whose connections can move.
func firstHTTP2(t testing.TB, kind string, srv *http.Server) *generation {
	t.Helper()
	if kind == "h2" {
		return nextTLS(t, nil, srv, certified("h2", "http/1.1"))
	}
	return serveHTTP2(t, kind, srv)
}

// nextHTTP2 starts a generation behind from that can go on with its HTTP/2 connections.
func nextHTTP2(t testing.TB, from *generation, srv *http.Server) *generation {
	t.Helper()
	var to *generation
	if srv.Protocols = from.srv.Protocols; from.ln.(*socket).secured.Load() != nil {
		to = nextTLS(t, from, srv, certified("h2", "http/1.1"))
	} else {
		to = next(t, from, srv)
	}
	to.await(t, "no server", func(Counts) bool { return to.ln.(*socket).http2.Load() != nil })
	return to
}

// move moves one connection to another generation.
func move(t testing.TB, from *generation, srv *http.Server) *generation {
	t.Helper()
	to := nextHTTP2(t, from, srv)
	from.leave(t, to)()
	if n := from.set.Counts(); n.Moved != 1 {
		t.Fatalf("%+v, want one that has moved", n)
	}
	return to
}

// Clients that never repeat anything keep their connections through swaps.
func TestHTTP2MovesUnderLoad(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		const clients, swaps = 8, 10
		one := firstHTTP2(t, kind, &http.Server{})
		at := one.ln.Addr().String()
		var dials atomic.Int32
		var stop atomic.Bool
		var running sync.WaitGroup
		for i := range clients {
			tr, scheme := transport(t, kind)
			tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return new(net.Dialer).DialContext(ctx, network, addr)
			}
			client := &http.Client{Transport: tr}
			running.Go(func() {
				for n := 0; !stop.Load(); n++ {
					body := strings.Repeat(fmt.Sprintf("%d-%d ", i, n), 1+n%3*5000)
					target := fmt.Sprintf("%s://%s/%d/%d", scheme, at, i, n)
					req, err := http.NewRequest("POST", target, io.MultiReader(strings.NewReader(body)))
					check(t, err)
					req.Header.Set(fmt.Sprintf("X-%d", n%100), fmt.Sprint(n))
					resp, err := client.Do(req)
					if err != nil {
						t.Errorf("client %d, request %d: %v", i, n, err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					if err != nil || string(got) != body {
						t.Errorf("client %d, request %d: %d bytes, want %d; %v", i, n, len(got), len(body), err)
					}
					time.Sleep(time.Duration(n%5) * time.Millisecond)
				}
			})
		}
		one.await(t, "not all are there", func(n Counts) bool { return n.HTTP2 == clients })
		for range swaps {
			two := nextHTTP2(t, one, new(http.Server))
			one.leave(t, two)()
			if n := one.set.Counts(); n.Moved != clients {
				t.Errorf("%+v, want %d that have moved", n, clients)
			}
			one = two
		}
		stop.Store(true)
		running.Wait()
		if dials.Load() != clients {
			t.Errorf("%d dials, want %d", dials.Load(), clients)
		}
	})
}

// A server that has never seen a stream of the client's knows them, and its header blocks' table.
func TestHTTP2GoesOnWhereItWas(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Kept"), r.Header.Get("X-Second"), body)
		})
		one := firstHTTP2(t, kind, &http.Server{Handler: handler})
		c := dialHTTP2(t, one, kind)
		block := func(more string) []byte { return append(slices.Clone(postHead), more...) }
		ask := func(stream uint32, more, body, want string) {
			t.Helper()
			c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, stream, block(more))
			c.frame(0, 1, stream, []byte(body))
			c.wantAnswer(stream, want)
		}
		c.frame(4, h2frame.FlagAck, 0, nil)
		ask(1, "\x40\x06x-kept\x03one", "a", "one  a")
		ask(3, "\xbe\x40\x08x-second\x03two", "b", "one two b") // by its index
		for i := range 3 {
			stream := uint32(7 + 4*i)
			one = move(t, one, &http.Server{Handler: handler})
			c.frame(8, 0, 3, []byte{0, 0, 0, 9}) // what a client may yet say of a stream that has ended
			c.frame(3, 0, stream-4, []byte{0, 0, 0, 8})
			c.frame(2, 0, 3, []byte{0, 0, 0, 0, 1})
			c.frame(0xbe, 0, 1, []byte("unknown"))
			c.frame(h2frame.TypePing, 0, 0, []byte("are you?"))
			for f := c.next(); f.kind != h2frame.TypePing || string(f.payload) != "are you?"; f = c.next() {
				if f.kind != 8 || f.stream != 0 { // of the whole window, what the server before had not granted yet
					t.Errorf("before the answer to a PING: %+v", f)
				}
			}
			ask(stream, "\xbe\xbf", "c", "one two c")
			c.post(stream+2, "d")
			c.wantAnswer(stream+2, "  d")
			one.await(t, "requests are not counted", func(n Counts) bool { return n.HTTP2 == 1 && n.Adopted == 1 })
		}
	})
}

// What each side may send is what it was, whatever the server here begins with.
func TestHTTP2WindowsMove(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		const first, all, received = 30000, 65535, 1 << 20
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = w.Write(make([]byte, cmp.Or(map[int64]int{1: first, 2: all}[n], 1)))
		})
		one := firstHTTP2(t, kind, &http.Server{Handler: handler})
		c := dialHTTP2(t, one, kind)
		sent := 0
		c.frame(4, h2frame.FlagAck, 0, nil)
		post := func(stream uint32, n int) {
			c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, stream, postHead)
			for ; n > 1<<14; n -= 1 << 14 {
				c.frame(0, 0, stream, make([]byte, 1<<14))
				sent += 1 << 14
			}
			c.frame(0, 1, stream, make([]byte, n))
			sent += n
		}
		post(1, 1)
		for !c.ended[1] {
			c.next()
		}
		one = move(t, one, &http.Server{Handler: handler})
		post(3, 2) // the answer is longer than what is left
		for len(c.bodies[3]) < all-first {
			c.next()
		}
		c.frame(h2frame.TypePing, 0, 0, make([]byte, 8))
		for c.next().kind != h2frame.TypePing {
		}
		if n := len(c.bodies[3]); n != all-first {
			t.Fatalf("%d bytes have come, want %d", n, all-first)
		}
		c.frame(8, 0, 0, []byte{0, 1, 0, 0})
		for !c.ended[3] {
			c.next()
		}
		move(t, one, &http.Server{Handler: handler})
		c.frame(8, 0, 0, []byte{0, 1, 0, 0})
		for stream := uint32(5); stream < 15; stream += 2 { // far more than one window in all
			post(stream, 400000)
			for !c.ended[stream] {
				c.next()
			}
			if left := all + c.granted - sent; left > received || left < received/2 {
				t.Errorf("the client may send %d bytes", left)
			}
		}
	})
}

// What can't move stays, and is told to leave.
func TestHTTP2ThatDoesNotMove(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		for name, test := range map[string]struct {
			say  func(c *h2)
			next *http.Server // nil: one that can go on
		}{
			"a stream is open": {func(c *h2) { c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 1, postHead) }, nil},
			"a header block is open": {func(c *h2) {
				c.frame(h2frame.TypeHeaders, 0, 1, postHead[:3])
			}, nil},
			"half a frame":              {func(c *h2) { c.send([]byte{0, 0, 4}) }, nil},
			"SETTINGS not acknowledged": {func(c *h2) {}, nil},
			"another server":            {func(c *h2) { c.frame(4, h2frame.FlagAck, 0, nil) }, new(http.Server)},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one := firstHTTP2(t, kind, &http.Server{ErrorLog: log.New(io.Discard, "", 0)})
				c := dialHTTP2(t, one, kind)
				test.say(c)
				one.await(t, "unread", func(Counts) bool { return one.unread() == 0 })
				two := test.next
				var to *generation
				if two == nil {
					to = nextHTTP2(t, one, new(http.Server))
				} else {
					to = next(t, one, two)
				}
				one.depart(t, one.handTo(to), 200*time.Millisecond)
				c.wantGoAway(h2frame.MaxStream)
				if n := one.set.Counts(); n.Moved != 0 {
					t.Errorf("%+v", n)
				}
			})
		}
	})
}

// Hooks and handlers learn of a connection that has moved what they learn of others.
func TestHTTP2MovesUnseen(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one, c := restingHTTP2(t, kind)
		var seen sync.Map
		var states, requests atomic.Int32
		srv := &http.Server{
			ConnState: func(_ net.Conn, s http.ConnState) { seen.Store(states.Add(1), s) },
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprintf(w, "%d %d", requests.Add(1), Requests(r.Context()))
			}),
		}
		move(t, one, srv)
		c.post(3, "b")
		c.wantAnswer(3, "1 2")
		var got []http.ConnState
		for i := range states.Load() {
			s, _ := seen.Load(i + 1)
			got = append(got, s.(http.ConnState))
		}
		if want := []http.ConnState{http.StateNew, http.StateActive}; !slices.Equal(got[:min(2, len(got))], want) {
			t.Errorf("%v, want %v first", got, want)
		}
	})
}

// A server with other settings tells them, and has clients that may exceed them leave.
func TestHTTP2MovesToOtherSettings(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		for name, test := range map[string]struct {
			config http.HTTP2Config
			leaves bool
		}{
			"more streams":  {http.HTTP2Config{MaxConcurrentStreams: 1000}, false},
			"fewer streams": {http.HTTP2Config{MaxConcurrentStreams: 7}, true},
			"larger window": {http.HTTP2Config{MaxReceiveBufferPerConnection: 1 << 22}, false},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one := firstHTTP2(t, kind, &http.Server{})
				c := dialHTTP2(t, one, kind)
				c.frame(4, h2frame.FlagAck, 0, nil)
				c.post(1, "a")
				c.wantAnswer(1, "a")
				move(t, one, &http.Server{HTTP2: &test.config})
				settings := map[uint16]uint32{}
				grown := c.granted
				c.post(3, "b")
				for leaves := false; !c.ended[3] || test.leaves && !leaves; {
					switch f := c.next(); f.kind {
					case h2frame.TypeSettings:
						for p := f.payload; len(p) > 0; p = p[6:] {
							settings[binary.BigEndian.Uint16(p)] = binary.BigEndian.Uint32(p[2:])
						}
						c.frame(4, h2frame.FlagAck, 0, nil)
					case h2frame.TypeGoAway:
						leaves = true
						if !test.leaves {
							t.Error("a GOAWAY")
						}
					}
				}
				if want := test.config.MaxConcurrentStreams; want > 0 && settings[3] != uint32(want) {
					t.Errorf("settings %v, want %d streams", settings, want)
				}
				if want := test.config.MaxReceiveBufferPerConnection - 1<<20; want > 0 && c.granted-grown < want {
					t.Errorf("the window grows by %d, want %d", c.granted-grown, want)
				}
				c.post(5, "c")
				c.goesOn(5, "c")
			})
		}
	})
}

// hpackLength appends the length of a string (RFC 7541, 5.2).
func hpackLength(b []byte, n int) []byte {
	if n < 0x7f {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(append(b, 0x7f), uint64(n-0x7f))
}

// A server takes only what it can go on with, whatever the client has sent meanwhile. Of the rest no request is lost.
func TestHTTP2MovesWhereItFits(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, len(r.Header.Get("X-Kept")))
		})
		large := &http.HTTP2Config{MaxDecoderHeaderTableSize: 8192, MaxReadFrameSize: 1 << 21,
			MaxReceiveBufferPerConnection: 1 << 21, MaxReceiveBufferPerStream: 1 << 21}
		smallTable := &http.HTTP2Config{MaxDecoderHeaderTableSize: 99}
		smallFrames := &http.HTTP2Config{MaxReadFrameSize: 1 << 14}
		smallWindow := &http.HTTP2Config{MaxReceiveBufferPerConnection: 1 << 17}
		smallOnes := &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 17}
		heads := func(most int) *http.Server { return &http.Server{MaxHeaderBytes: most} }
		for name, test := range map[string]struct {
			from, to *http.Server
			kept     int // bytes of a field in the table
			moves    bool
		}{
			"as large":              {&http.Server{HTTP2: large}, &http.Server{HTTP2: large}, 3000, true},
			"larger":                {heads(9000), &http.Server{HTTP2: large, MaxHeaderBytes: 1 << 21}, 3000, true},
			"as large by default":   {&http.Server{HTTP2: large}, &http.Server{}, 9, false},
			"a smaller table":       {&http.Server{}, &http.Server{HTTP2: smallTable}, 9, false},
			"smaller frames":        {&http.Server{}, &http.Server{HTTP2: smallFrames}, 9, false},
			"a smaller window":      {&http.Server{}, &http.Server{HTTP2: smallWindow}, 9, false},
			"smaller ones":          {&http.Server{}, &http.Server{HTTP2: smallOnes}, 9, false},
			"smaller heads":         {&http.Server{}, heads(1024), 9, false},
			"small heads":           {heads(1024), heads(1024), 600, true},
			"a table of more heads": {heads(1024), heads(1024), 900, false},
			"tiny heads":            {heads(1), heads(1), 9, true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test.from.Handler, test.to.Handler = handler, handler
				one := firstHTTP2(t, kind, test.from)
				c := dialHTTP2(t, one, kind)
				c.frame(4, h2frame.FlagAck, 0, nil)
				field := append(hpackLength([]byte("\x40\x06x-kept"), test.kept),
					bytes.Repeat([]byte("v"), test.kept)...)
				ask := func(stream uint32, field []byte) {
					t.Helper()
					head := append(slices.Clone(postHead), field...)
					c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|h2frame.FlagEndStream, stream, head)
					c.goesOn(stream, fmt.Sprint(test.kept))
				}
				ask(1, field)
				if test.moves {
					move(t, one, test.to)
				} else {
					one.depart(t, one.handTo(nextHTTP2(t, one, test.to)), 3*time.Second) // half of which it has to move
					c.wantGoAway(h2frame.MaxStream)
				}
				ask(3, []byte("\xbe"))
				if n := one.set.Counts(); n.Lost != 0 || n.Moved != 0 && !test.moves {
					t.Errorf("%+v", n)
				}
			})
		}
	})
}

// A stream may end before its handler does: as long as that runs, the connection stays.
func TestHTTP2MovesWhenTheHandlerHasEnded(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		begun, end := make(chan struct{}), make(chan struct{})
		one := firstHTTP2(t, kind, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(begun)
			<-end
		})})
		c := dialHTTP2(t, one, kind)
		c.frame(4, h2frame.FlagAck, 0, nil)
		c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 1, postHead)
		<-begun
		c.frame(h2frame.TypeReset, 0, 1, []byte{0, 0, 0, 8})
		one.await(t, "not idle", func(n Counts) bool { return one.set.all()[0].is(http.StateIdle) })
		two := nextHTTP2(t, one, new(http.Server))
		wait := one.leave(t, two)
		c.frame(h2frame.TypePing, 0, 0, make([]byte, 8)) // which it answers
		for f := c.next(); f.kind != h2frame.TypePing; f = c.next() {
		}
		if n := one.set.Counts(); n.Moved != 0 {
			t.Errorf("%+v", n)
		}
		close(end)
		wait()
		c.post(3, "b")
		c.wantAnswer(3, "b")
		if n := one.set.Counts(); n.Moved != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// A connection that has gone on to the next process before a server had it gives no preface to a reader here.
func TestHTTP2MovesOnUnmet(t *testing.T) {
	t.Parallel()
	one, c := restingHTTP2(t, "h2c")
	kept := make(chan net.Conn, 1)
	srv := &http.Server{Protocols: one.srv.Protocols}
	two := next(t, one, srv, sorting(kept))
	two.await(t, "no server", func(Counts) bool { return two.ln.(*socket).tracked.Load() })
	two.ln.(*socket).http2.Store(limitsHTTP2(srv))
	one.leave(t, two)()
	nc := <-kept
	three := nextHTTP2(t, two, new(http.Server))
	two.leave(t, three)()
	buf := make([]byte, 24)
	if n, err := nc.Read(buf); n > 0 || err == nil {
		t.Errorf("%q, %v, want an error", buf[:n], err)
	}
	c.post(3, "b")
	c.wantAnswer(3, "b")
}
