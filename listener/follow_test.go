//go:build unix

package listener

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A server that the set knows nothing of, as frameworks run them.
type unknownServer struct {
	name  string
	serve func(ln net.Listener, h http.Handler) error
}

var unknownServers = []unknownServer{
	{"net/http", func(ln net.Listener, h http.Handler) error { return http.Serve(ln, h) }},
	{"net/http with timeouts", func(ln net.Listener, h http.Handler) error {
		return (&http.Server{Handler: h, ReadTimeout: time.Minute, IdleTimeout: time.Hour}).Serve(ln)
	}},
	{"another", func(ln net.Listener, h http.Handler) error { return serveBare(ln, h, 1<<16) }},
	{"one that waits for one byte", func(ln net.Listener, h http.Handler) error { return serveBare(ln, h, 0) }},
}

// serveBare reads through a buffer of that size. With 0 it has a buffer for each request, when that begins.
func serveBare(ln net.Listener, h http.Handler, size int) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			br := bufio.NewReaderSize(nc, max(size, 16))
			for {
				if size == 0 {
					var b [1]byte
					if _, err := nc.Read(b[:]); err != nil {
						return
					}
					br = bufio.NewReader(io.MultiReader(bytesReader(b[0]), nc))
				}
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				w := &bareWriter{head: http.Header{}}
				h.ServeHTTP(w, r)
				w.head.Set("Content-Length", fmt.Sprint(len(w.body)))
				out := bufio.NewWriter(nc)
				fmt.Fprint(out, "HTTP/1.1 200 OK\r\n")
				_ = w.head.Write(out)
				fmt.Fprintf(out, "\r\n%s", w.body)
				if out.Flush() != nil {
					return
				}
			}
		}()
	}
}

type bareWriter struct {
	head http.Header
	body []byte
}

func (w *bareWriter) Header() http.Header         { return w.head }
func (w *bareWriter) WriteHeader(int)             {}
func (w *bareWriter) Write(p []byte) (int, error) { w.body = append(w.body, p...); return len(p), nil }

type bytesReader byte

func (b bytesReader) Read(p []byte) (int, error) { p[0] = byte(b); return 1, io.EOF }

// unknown starts a generation with such a server.
func (u unknownServer) next(t testing.TB, from *generation, h http.Handler,
	around ...func(net.Listener) net.Listener) (g *generation, f *Followed) {
	g = listening(t, from)
	if h == nil {
		h = echo(g.n)
	}
	ln := g.ln
	for _, wrap := range around {
		ln = wrap(ln)
	}
	f = g.set.Follow(ln)
	g.serve(t, func() error { return u.serve(f, h) })
	return g, f
}

func eachUnknown(t *testing.T, on string, test func(t *testing.T, u unknownServer)) {
	for _, u := range unknownServers {
		t.Run(u.name+", "+on, func(t *testing.T) { test(t, u) })
	}
}

// gate is an echo that answers more than one byte when the test lets it.
type gate struct {
	http.Handler
	come, goOn chan struct{}
}

func newGate(n int) *gate { return &gate{echo(n), make(chan struct{}, 8), make(chan struct{})} }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > 1 {
		g.come <- struct{}{}
		<-g.goOn
	}
	g.Handler.ServeHTTP(w, r)
}

func TestConnectionsOfUnknownServersMoveAtRest(t *testing.T) {
	eachUnknown(t, "plain", func(t *testing.T, u unknownServer) {
		busy := newGate(1)
		one, followed := u.next(t, nil, busy)
		silent := dial(t, one)
		one.await(t, "silent one not accepted", func(n Counts) bool { return n.Other == 1 })
		resting, asking := idle(t, one), idle(t, one)
		one.await(t, "not one new and two idle: the server speaks HTTP/1",
			func(n Counts) bool { return n.New == 1 && n.Idle == 2 })
		asking.send(post("slow"))
		<-busy.come
		two, _ := u.next(t, one, nil)
		left := one.leave(t, two)
		// What comes before that may be read here.
		one.await(t, "two do not move", func(n Counts) bool { return n.Moved == 2 })
		for _, c := range []*client{silent, resting} {
			if got := c.ask("b"); got != "2" {
				t.Errorf("generation %s answers", got)
			}
		}
		close(busy.goOn)
		if got := asking.want("slow"); got != "1" {
			t.Errorf("generation %s answers what the first has read", got)
		}
		if got := asking.ask("c"); got != "2" {
			t.Errorf("generation %s answers behind that", got)
		}
		left()
		followed.Await(t.Context())
		if n := one.set.Counts(); n.Moved != 3 || n.Lost != 0 {
			t.Errorf("%+v; want 3 moved", n)
		}
		resting.ask("d")
		three, _ := u.next(t, two, nil)
		two.leave(t, three)() // what was adopted goes on
		if got := resting.ask("e"); got != "3" {
			t.Errorf("generation %s answers", got)
		}
	})
}

// In a stop a client that goes on asking is told, and one that rests is closed after its grace.
func TestUnknownServersStop(t *testing.T) {
	t.Parallel()
	config := certified("http/1.1")
	for name, around := range map[string][]func(net.Listener) net.Listener{
		"plain": nil, "limited": {func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn { return &limits{nc, nil} }}
		}},
		"TLS": {func(ln net.Listener) net.Listener { return tls.NewListener(ln, config) }},
	} {
		eachUnknown(t, name, func(t *testing.T, u unknownServer) {
			busy := newGate(1)
			one, followed := u.next(t, nil, busy, around...)
			said := warnings(one.set)
			clients := make([]*client, 3)
			for i := range clients {
				c := dial(t, one)
				if name == "TLS" {
					c.nc = tls.Client(c.nc, &tls.Config{InsecureSkipVerify: true})
					c.br = bufio.NewReader(c.nc)
				}
				if clients[i] = c; i < 2 {
					c.ask("a")
					one.await(t, "not idle", func(n Counts) bool { return n.Idle == i+1 })
				}
			}
			one.await(t, "silent one not accepted", func(n Counts) bool { return n.New == 1 })
			clients[0].send(post("slow"))
			<-busy.come
			left := one.depart(t, nil, 50*time.Millisecond)
			clients[1].wantClosed()
			if name != "TLS" {
				clients[2].wantClosed()
			}
			close(busy.goOn)
			clients[0].wantLast("slow")
			left()
			followed.Await(t.Context())
			if n := one.set.Counts(); n.Lost != 0 || len(said()) > 0 {
				t.Errorf("%+v, %q", n, said())
			}
		})
	}
}

// It is net/http that closes in a hurry, and is known by how it ends its reads.
func TestServersThatSpeakTLSThemselvesAreWarnedOf(t *testing.T) {
	g := listening(t, nil)
	said := warnings(g.set)
	srv := &http.Server{Handler: echo(1), TLSConfig: certified("http/1.1")}
	g.serve(t, func() error { return srv.ServeTLS(g.set.Follow(g.ln), "", "") })
	c := dialTLS(t, g)
	// Not each read has begun when it is to end.
	for end := time.Now().Add(patience); len(said()) == 0 && time.Now().Before(end); {
		c.ask("a")
	}
	c.ask("a")
	if all := said(); len(all) != 1 || !strings.Contains(all[0], "Track") {
		t.Errorf("%q; want one with the cure", all)
	}
}

// What does not speak HTTP/1 is left to its server, from its first word or its server's on.
func TestOtherProtocolsAreNotFollowed(t *testing.T) {
	for name, c := range map[string]struct{ read, greets string }{
		"silent": {}, "lines": {read: "a line\n"}, "HTTP/2": {read: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		"TLS": {read: "\x16\x03\x01\x00\x05hello"}, "server first": {greets: "220 ready\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := listening(t, nil)
			f := g.set.Follow(g.ln)
			var conns sync.Map
			heard := make(chan string, 1)
			g.serve(t, func() error {
				for {
					nc, err := f.Accept()
					if err != nil {
						return err
					}
					conns.Store(nc, true)
					go func() {
						_, _ = io.WriteString(nc, c.greets)
						p := make([]byte, 100)
						for {
							n, err := nc.Read(p)
							if err != nil {
								return
							}
							heard <- string(p[:n])
						}
					}()
				}
			})
			cl := dial(t, g)
			cl.send(c.read)
			if c.read != "" {
				<-heard
			}
			if c.greets != "" {
				if line, err := cl.br.ReadString('\n'); line != c.greets {
					t.Errorf("%q, %v", line, err)
				}
			}
			g.await(t, "not other", func(n Counts) bool { return n.Other == 1 })
			never := func([]Ticket, []syscall.Conn) ([]bool, error) { panic("nothing to hand over") }
			left := g.depart(t, never, time.Millisecond)
			time.Sleep(20 * time.Millisecond) // several graces
			cl.send("more\n")
			if got := <-heard; got != "more\n" {
				t.Errorf("%q", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			f.Await(ctx) // waits for none of them
			check(t, ctx.Err())
			for nc := range conns.Range {
				check(t, nc.(net.Conn).Close())
			}
			left()
		})
	}
}
