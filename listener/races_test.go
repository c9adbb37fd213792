//go:build unix

package listener

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"
)

// ends fails the test, and not the whole run, when f hangs.
func ends(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s hangs", what)
	}
}

// Connections end while the set looks for some to rouse; the loss ledger asks for the counts.
func TestConnectionsCloseWhileLeaving(t *testing.T) {
	for range 20 {
		var set *Set
		set = New(Config{OnLoss: func(Loss) { set.Counts() }})
		ln := mustListen(t, set, "tcp", "127.0.0.1:0")
		const n = 2000
		var conns []net.Conn
		for range n {
			near, err := set.Dial(ln)
			check(t, err)
			defer near.Close()
			c, _ := ln.Accept()
			conns = append(conns, c)
		}
		start := make(chan struct{})
		var wg sync.WaitGroup
		for part := range 4 {
			wg.Go(func() {
				<-start
				for set.leaving.Load() == nil { // no earlier
					runtime.Gosched()
				}
				for i := part; i < n; i += 4 {
					_ = conns[i].Close()
				}
			})
		}
		ends(t, "Leave", func() {
			close(start)
			if err := set.Leave(context.Background(), nil, time.Minute); err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
}

func TestOpenWhileConnectionsComeIn(t *testing.T) {
	for range 200 {
		set := New(Config{})
		var lns []net.Listener
		for range 8 {
			ln, err := set.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				break // the same port twice has the same key
			}
			lns = append(lns, ln)
			set.mu.Lock()
			so := ln.(*socket)
			delete(set.sockets, so.key)
			so.key += ln.Addr().String()
			set.sockets[so.key] = so
			set.mu.Unlock()
		}
		ends(t, "Open, Dial, Close", func() {
			var wg sync.WaitGroup
			start := make(chan struct{})
			wg.Go(func() {
				<-start
				for range 50 {
					set.Open()
				}
			})
			for _, ln := range lns {
				wg.Go(func() {
					<-start
					for range 50 {
						if nc, err := set.Dial(ln); err == nil {
							_ = nc.Close()
						}
					}
					_ = ln.Close()
				})
			}
			close(start)
			wg.Wait()
		})
		set.Close()
	}
}

// net/http looks for the preface of HTTP/2 first, and reads once more after the EOF that says that a
// connection has moved.
func TestNewConnectionOfServerWithUnencryptedHTTP2MovesOnce(t *testing.T) {
	h2c := func() *http.Server {
		srv := &http.Server{Protocols: new(http.Protocols)}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		return srv
	}
	one := next(t, nil, h2c())
	fresh, idle := dial(t, one), dial(t, one)
	idle.ask("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
	gen := one
	for range 3 {
		two := next(t, gen, h2c())
		gen.leave(t, two)()
		if n := gen.set.Counts(); n.Moved != 2 {
			t.Errorf("%d connections moved, want 2", n.Moved)
		}
		two.await(t, "not there", func(n Counts) bool { return n.Other == 0 })
		if n := two.set.Counts(); n.Adopted != 2 || n.Open() != 2 {
			t.Errorf("generation %d: %+v", two.n, n)
		}
		gen = two
	}
	for _, c := range []*client{fresh, idle} {
		c.ask("b")
	}
}
