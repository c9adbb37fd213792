//go:build unix

package listener

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// secure serves TLS on the listener of a new generation.
func secure(t testing.TB, srv *http.Server, protos ...string) *generation {
	t.Helper()
	g := &generation{set: New(Config{}), srv: srv, n: 1}
	ln := mustListen(t, g.set, "tcp", "127.0.0.1:0")
	g.ln = ln
	srv.TLSConfig = certified(protos...)
	if srv.Handler == nil {
		srv.Handler = echo(1)
	}
	g.set.Track(srv)
	g.set.Open()
	go func() { _ = serveTLS(g.set, srv, ln) }()
	t.Cleanup(func() { _ = srv.Close(); g.set.Close() })
	return g
}

// nextTLS is next for a server over TLS, by Set.TLSListener; a nil config is one with a certificate.
func nextTLS(t testing.TB, from *generation, srv *http.Server, config *tls.Config) *generation {
	t.Helper()
	g := listening(t, from)
	g.srv = srv
	if srv.Handler == nil {
		srv.Handler = echo(g.n)
	}
	if config == nil {
		config = certified("http/1.1")
	}
	g.set.Track(srv)
	ln := g.set.TLSListener(srv, g.ln, config)
	g.serve(t, func() error { return g.set.Serve(srv, ln) })
	t.Cleanup(func() { _ = srv.Close() })
	return g
}

func certified(protos ...string) *tls.Config {
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	defer certs.Close()
	return &tls.Config{Certificates: certs.TLS.Certificates, NextProtos: protos}
}

// serveTLS is srv.ServeTLS by Set.Serve.
func serveTLS(set *Set, srv *http.Server, ln net.Listener) error {
	const noFile = "\x00" // net/http sets srv up for HTTP/2, and then finds no certificate
	_ = srv.ServeTLS(ln, noFile, noFile)
	return set.Serve(srv, tls.NewListener(ln, srv.TLSConfig))
}

func dialTLS(t testing.TB, g *generation) *client {
	t.Helper()
	c := dial(t, g)
	tc := tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
	check(t, tc.Handshake())
	return &client{t, tc, bufio.NewReader(tc)}
}

func TestIdleTLSGetsAGrace(t *testing.T) {
	one := secure(t, &http.Server{}, "http/1.1")
	resting, last := dialTLS(t, one), dialTLS(t, one)
	for _, c := range []*client{resting, last} {
		c.ask("a")
	}
	one.await(t, "not idle", func(n Counts) bool { return n.Idle == 2 })
	// In an hour the last request is sure to come.
	wait := one.depart(t, one.handTo(next(t, nil, &http.Server{})), time.Hour)
	last.send(post("last"))
	last.wantLast("last")
	one.set.Hurry(50 * time.Millisecond)
	resting.wantEnd()
	wait()
	if n := one.set.Counts(); n.Moved != 0 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A browser connects ahead of need: TCP only, or with the handshake done, and no request for a long time.
func TestTLSWithoutARequestYetEnds(t *testing.T) {
	one := secure(t, &http.Server{}, "http/1.1")
	fresh, shaken := dial(t, one), dialTLS(t, one)
	one.await(t, "not accepted", func(n Counts) bool { return n.Open() == 2 })
	one.depart(t, nil, 10*time.Millisecond)()
	fresh.wantEnd()
	shaken.wantEnd()
}

func TestConnectionsOfUntrackedServersAreOther(t *testing.T) {
	set := New(Config{})
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	set.Open()
	srv := &http.Server{Handler: echo(1)}
	go func() { _ = srv.Serve(ln) }()
	one := &generation{set: set, srv: srv, ln: ln, n: 1}
	c := dial(t, one)
	c.ask("a")
	wait := one.depart(t, nil, 0)
	for range 3 {
		for _, c := range set.all() {
			c.interruptRead()
		}
		c.ask("b")
	}
	if n := set.Counts(); n.Other != 1 || n.Open() != 1 {
		t.Errorf("%+v", n)
	}
	_ = c.nc.Close()
	wait()
}

// A listener of the user's own between the set and the server.
type limited struct{ net.Listener }

type limitedConn struct{ net.Conn }

func (l limited) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return limitedConn{nc}, nil
}

func (c limitedConn) NetConn() net.Conn { return c.Conn }

func TestWrappedConnectionsAreClosedInsteadOfMoved(t *testing.T) {
	one := &generation{set: New(Config{}), srv: &http.Server{Handler: echo(1)}, n: 1}
	ln := mustListen(t, one.set, "tcp", "127.0.0.1:0")
	one.ln = ln
	one.set.Track(one.srv)
	one.set.Open()
	go func() { _ = one.srv.Serve(limited{ln}) }()
	idle, fresh := dial(t, one), dial(t, one)
	idle.ask("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
	two := next(t, one, &http.Server{})
	one.depart(t, one.handTo(two), 10*time.Millisecond)()
	idle.wantEnd()
	fresh.wantEnd()
	if n := one.set.Counts(); n.Moved != 0 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}
