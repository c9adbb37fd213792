//go:build unix

package listener

import (
	"bufio"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counting counts what the server asks of a connection.
type counting struct {
	net.Conn
	reads, deadlines atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) { c.reads.Add(1); return c.Conn.Read(p) }

func (c *counting) SetReadDeadline(t time.Time) error {
	c.deadlines.Add(1)
	return c.Conn.SetReadDeadline(t)
}

// bubble is a server in a bubble of synctest, where time passes only while all wait.
type bubble struct {
	t      *testing.T
	set    *Set
	so     *socket
	srv    *http.Server
	sealed bool
}

func (b *bubble) dial() (*client, *counting) {
	near, far := net.Pipe()
	under := &counting{Conn: far}
	if !b.so.enqueue(b.so.newConn(under)) {
		b.t.Fatal("closed")
	}
	if b.sealed {
		near = tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	}
	return &client{b.t, near, bufio.NewReader(near)}, under
}

// inBubbles runs test for a server in plain text, and for one of a TLSListener.
func inBubbles(t *testing.T, h http.HandlerFunc, test func(b *bubble)) {
	for name, sealed := range map[string]bool{"plain": false, "TLS": true} {
		certs := certified("http/1.1")
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := New(Config{})
				ln := mustListen(t, set, "tcp", "127.0.0.1:0") // nobody connects to it
				srv := &http.Server{Handler: h}
				set.Track(srv)
				served := ln
				if sealed {
					served = set.TLSListener(srv, ln, certs)
				}
				go func() { _ = set.Serve(srv, served) }()
				test(&bubble{t, set, ln.(*socket), srv, sealed})
				_ = srv.Close()
				set.Close()
				time.Sleep(time.Minute)
				if at := set.clock.at.Load(); at != 0 || !set.clock.waiters.isEmpty() {
					t.Errorf("the clock of nobody ticks: %d", at)
				}
			})
		})
	}
}

// Net/http reads behind the back of each handler. For a short one, that asks nothing of the connection; but where the
// handler returns in the very moment in which that read begins.
func TestShortHandlerCostsNoReadBehindIt(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	inBubbles(t, echo, func(b *bubble) {
		c, under := b.dial()
		c.ask("first") // TLS shakes hands
		synctest.Wait()
		reads, deadlines := under.reads.Load(), under.deadlines.Load()
		const n = 100
		for range n {
			c.ask("a")
		}
		synctest.Wait()
		if r, d := under.reads.Load()-reads, under.deadlines.Load()-deadlines; r > n*5/4 || d > n/2 {
			b.t.Errorf("%d requests: %d reads, %d deadlines; want a read each, and no deadline", n, r, d)
		}
		check(b.t, c.nc.Close())
	})
}

// A client that goes away ends the context of its request: within two ticks where the handler has just begun, at once
// where that is longer ago, and where the server closes the connection.
func TestClientThatGoesAwayEndsTheContext(t *testing.T) {
	byClient := func(_ *bubble, c *client) error { return c.nc.Close() }
	byServer := func(b *bubble, _ *client) error { return b.srv.Close() }
	for name, x := range map[string]struct {
		after, most time.Duration
		end         func(*bubble, *client) error
	}{
		"at once":                   {0, 2 * coarseTick, byClient},
		"after a tick":              {coarseTick, coarseTick, byClient},
		"after an hour":             {time.Hour, 0, byClient},
		"the server, at once":       {0, 0, byServer},
		"the server, after an hour": {time.Hour, 0, byServer},
	} {
		t.Run(name, func(t *testing.T) {
			var noticed atomic.Bool
			inBubbles(t, func(_ http.ResponseWriter, r *http.Request) {
				began := time.Now()
				<-r.Context().Done()
				if took := time.Since(began) - x.after; took < 0 || took > x.most {
					t.Errorf("noticed after %v, want %v at most", took, x.most)
				}
				noticed.Store(true)
			}, func(b *bubble) {
				c, _ := b.dial()
				c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				go func() { _, _ = c.br.Peek(1) }() // a pipe has no room for the server's farewell
				synctest.Wait()
				time.Sleep(x.after)
				check(b.t, x.end(b, c))
				time.Sleep(time.Second)
				if !noticed.Swap(false) {
					t.Error("not noticed")
				}
			})
		})
	}
}

// Handlers of all lengths, at once: each connection goes on behind its handler.
func TestReadsOfManyHandlersAreHeld(t *testing.T) {
	lasts := func(_ http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.Header.Get("Lasts"))
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
	}
	inBubbles(t, lasts, func(b *bubble) {
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				c, _ := b.dial()
				for range 20 {
					d := time.Duration(rand.IntN(int(4 * coarseTick)))
					begin := time.Now()
					c.send("GET / HTTP/1.1\r\nHost: x\r\nLasts: " + d.String() + "\r\n\r\n")
					c.want("")
					if took := time.Since(begin); took != d {
						b.t.Errorf("a request that lasts %v took %v", d, took)
					}
				}
				check(b.t, c.nc.Close())
			})
		}
		clients.Wait()
	})
}
