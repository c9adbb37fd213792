//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"sync"
	"testing"
	"time"
)

// proxyHeader is what a load balancer says first, in the PROXY protocol.
const proxyHeader = "PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n"

// wrap puts one of the usual wrappers around ln.
func (g *gen) wrap(ln net.Listener) net.Listener {
	switch g.Wrap {
	case "embeds":
		return wrapping{ln, func(nc net.Conn) net.Conn { return &embedding{nc} }}
	case "limit":
		return limit(ln, 64)
	case "limit one":
		return limit(ln, 1)
	case "queue":
		return newQueue(ln, 64)
	case "queue one":
		return newQueue(ln, 1)
	case "ahead":
		return wrapping{ln, func(nc net.Conn) net.Conn { return &ahead{nc, bufio.NewReaderSize(nc, 1<<15)} }}
	case "proxy":
		return newProxied(ln)
	case "proxy in Accept":
		return reading{ln, readProxyHeader}
	case "TLS in Accept":
		pair, err := tls.LoadX509KeyPair(g.Cert, g.Key)
		if err != nil {
			panic(err)
		}
		return reading{ln, shake(&tls.Config{Certificates: []tls.Certificate{pair}})}
	case "mux":
		return newMux(ln)
	}
	return ln
}

// shakes tells whether that speaks TLS.
func (g *gen) shakes() bool { return g.Wrap == "TLS in Accept" }

// limit accepts a connection before it waits for room.
func limit(ln net.Listener, most int) net.Listener {
	room := make(chan struct{}, most)
	return wrapping{ln, func(nc net.Conn) net.Conn {
		room <- struct{}{}
		return &limited{Conn: nc, release: func() { <-room }}
	}}
}

type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapping) Accept() (net.Conn, error) {
	nc, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(nc), nil
}

type embedding struct{ net.Conn }

// limited is as netutil.LimitListener's.
type limited struct {
	net.Conn
	once    sync.Once
	release func()
}

func (l *limited) Close() error {
	err := l.Conn.Close()
	l.once.Do(l.release)
	return err
}

type ahead struct {
	net.Conn
	br *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.br.Read(p) }

// proxied accepts in a goroutine of its own, and reads the header, if there is one, before it returns a connection.
type proxied struct {
	net.Listener
	conns chan net.Conn
	over  chan struct{} // closed when err is set
	err   error
}

func newProxied(ln net.Listener) *proxied {
	p := &proxied{Listener: ln, conns: make(chan net.Conn), over: make(chan struct{})}
	go func() {
		var greetings sync.WaitGroup
		for {
			nc, err := ln.Accept()
			if err != nil {
				greetings.Wait() // what was accepted is to be served
				p.err = err
				close(p.over)
				return
			}
			greetings.Go(func() { p.greet(nc) })
		}
	}()
	return p
}

func (p *proxied) greet(nc net.Conn) {
	br := bufio.NewReader(nc)
	b, err := br.Peek(1)
	if err == nil && b[0] == proxyHeader[0] {
		if b, err = br.Peek(6); err == nil && string(b) == proxyHeader[:6] {
			_, err = br.ReadString('\n')
		}
	}
	if err != nil {
		_ = nc.Close()
		return
	}
	p.conns <- &ahead{nc, br}
}

func (p *proxied) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.over:
		return nil, p.err
	}
}

// Clients that never retry are answered over swaps, a pull and a stop, whatever lies around the service's
// listener; and no generation stays longer than it must, or ends badly.
func TestWrappedListenersLoseNothing(t *testing.T) {
	type row struct {
		kind       string
		secure     bool
		reconnects int
	}
	eachOf(t, func(t *testing.T, x row) {
		p := plan{Wrap: x.kind, IdleGrace: patient, DrainTimeout: 2 * hung, MaxGenerations: 16}
		if x.secure {
			p = tlsPlan(t, p)
		}
		s := start(t, p)
		l := s.drive(6, 4*time.Millisecond)
		begin := time.Now()
		for n := 0; n < 3 || n < 10 && time.Since(begin) < 8*time.Second; n++ {
			old := s.main().PID
			s.swap()
			l.settle()
			s.wantExit(old, 0)
		}
		s.pull()
		s.pullOver(0, s.main().Gen)
		l.settle()
		s.restore()
		l.endWith(x.reconnects)
		last := s.untilLast(6)
		s.stop()
		last()
		s.wantNothingLost()
		s.wantQuickEnds(4 * patient)
	}, row{"embeds", false, 0}, row{"limit", false, math.MaxInt}, row{"ahead", false, math.MaxInt},
		row{"proxy", false, math.MaxInt}, row{"embeds", true, math.MaxInt}, row{"proxy", true, math.MaxInt})
}

// untilLast starts clients that send until they are told that an answer is the last. What it returns waits for them.
func (s *service) untilLast(n int) (wait func()) {
	s.Helper()
	var clients sync.WaitGroup
	begun := make(chan struct{}, n)
	for i := range n {
		c := s.connect()
		clients.Go(func() {
			for k := 0; ; k++ {
				body := fmt.Sprint(i, k)
				a, err := c.ask("POST", "/echo", body)
				if err != nil || a.body != body {
					s.Errorf("client %d, request %d: %+v, %v", i, k, a, err)
				}
				if k == 0 {
					begun <- struct{}{}
				}
				if err != nil || a.close {
					return
				}
			}
		})
	}
	for range n {
		<-begun
	}
	return clients.Wait
}

// wantQuickEnds wants each generation that has ended to have left within that time of the beginning of its drain, with
// nothing cut off.
func (s *service) wantQuickEnds(within time.Duration) {
	s.Helper()
	began := make(map[int]int64)
	for _, r := range s.since(0) {
		switch {
		case r.Msg == "draining" || r.Msg == "replaced":
			began[r.Gen] = r.At
		case r.Msg == "cut off", r.Msg == "stopped" && r.Err != "":
			s.Errorf("not a clean end: %v", r)
		case r.Msg == "stopped" && time.Duration(r.At-began[r.Gen]) > within:
			s.Errorf("generation %d took %v to leave", r.Gen, time.Duration(r.At-began[r.Gen]))
		}
	}
}
