//go:build unix

package listener

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// A server that is done leaves no handshake behind, and its listener ends whoever accepts from it later.
func TestHandshakesEndWithTheirServer(t *testing.T) {
	g := listening(t, nil)
	srv := &http.Server{Handler: echo(1)}
	g.set.Track(srv)
	g.set.Open()
	shakes, over := make(chan struct{}), make(chan struct{})
	defer close(over)
	config := certified("http/1.1")
	config.Certificates = nil
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if _, err := sockopt.RawConn(hello.Conn); err != nil {
			t.Errorf("a hook's %T: %v", hello.Conn, err)
		}
		close(shakes)
		select { // net/http itself, from Go 1.27 on, ends no context
		case <-hello.Context().Done():
		case <-over:
		}
		return nil, net.ErrClosed
	}
	ln := g.set.TLSListener(srv, g.ln, config)
	served := make(chan error, 1)
	go func() { served <- g.set.Serve(srv, ln) }()
	c := dial(t, g)
	shaken := make(chan error, 1)
	go func() { shaken <- tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	<-shakes
	_ = srv.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if err := <-shaken; err == nil {
		t.Error("the handshake goes on")
	}
	again := &http.Server{}
	if err := g.set.Serve(again, ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("another server on the listener: %v", err)
	}
}

// brittle fails now and then.
type brittle struct {
	net.Listener
	errs []error
}

func (b *brittle) Accept() (net.Conn, error) {
	if len(b.errs) > 0 {
		err := b.errs[0]
		b.errs = b.errs[1:]
		return nil, err
	}
	return b.Listener.Accept()
}

// A server sleeps at an error that is temporary. What is ready may not wait for that.
func TestTemporaryErrorsStayBelow(t *testing.T) {
	g := listening(t, nil)
	g.set.Open()
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	l, ok := g.set.TLSListener(srv, g.ln, certified("http/1.1")).(*securedListener)
	if !ok {
		t.Skip("no connection moves in this process")
	}
	defer l.end()
	errGone := errors.New("gone")
	full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	l.Listener = &brittle{g.ln, []error{full, full, errGone, full}}
	if _, err := l.Accept(); err != errGone {
		t.Errorf("%v, want the error that is for good", err)
	}
	go dialTLS(t, g)
	nc, err := l.Accept()
	check(t, err)
	_ = nc.SetDeadline(time.Now())
	if _, err := sockopt.RawConn(accepted(nc).(*tls.Conn).NetConn()); err != nil {
		t.Error(err)
	}
	_ = nc.Close()
}

// A connection under TLS moves with its keys or not at all, also in the moment in which they come.
func TestNothingMovesWithoutItsKeys(t *testing.T) {
	for state := range int32(2) { // unmet, and with a server
		for _, speaks := range []int32{secured, insealed} {
			c := &conn{set: New(Config{})}
			c.state.Store(state)
			c.speaks.Store(speaks)
			if c.protocol().movable() {
				t.Errorf("state %d, speaks %d: it moves", state, speaks)
			}
		}
	}
}

// The first request of a client often comes with the end of its handshake, whole or in part, and is read with that. It
// is answered all the same, by a server that leaves before it has asked for it, or by the next one.
func TestRequestBehindTheHandshake(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "x", MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		certs, answered := certified("http/1.1"), map[string]int{}
		for cut := -2; cut < 120; cut += 3 { // before the request, in the head of its record, and on
			one := nextTLS(t, nil, &http.Server{}, certs)
			two := nextTLS(t, one, &http.Server{}, certs)
			first := dial(t, one)
			first.nc = tls.Client(first.nc, config)
			first.br.Reset(first.nc)
			first.ask("so that the other one resumes")

			w := &underTLS{Conn: dial(t, one).nc, holdNext: true}
			tc := tls.Client(w, config)
			check(t, tc.Handshake())
			if !tc.ConnectionState().DidResume {
				t.Fatal("a full handshake")
			}
			shaken := len(w.held)
			c := &client{t, tc, bufio.NewReader(tc)}
			c.send(post("behind"))
			w.hold, w.holdNext = false, false
			w.release(t, shaken+cut)
			wait := one.depart(t, one.handTo(two), time.Minute)
			w.release(t, 1<<20)
			resp, err := http.ReadResponse(c.br, nil)
			if err != nil {
				t.Fatalf("%s, cut at %d: %v", tls.VersionName(version), cut, err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "behind" {
				t.Errorf("%s, cut at %d: %q, %v", tls.VersionName(version), cut, body, err)
			}
			answered[resp.Header.Get("X-Generation")]++
			_, _ = c.nc.Close(), first.nc.Close()
			wait()
			if n := one.set.Counts(); n.Lost+n.Part+n.Junk > 0 {
				t.Errorf("%s, cut at %d: %+v", tls.VersionName(version), cut, n)
			}
		}
		t.Logf("%s, answered by generation: %v", tls.VersionName(version), answered)
	}
}
