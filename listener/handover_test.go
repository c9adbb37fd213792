//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// generation is a server that plays the part of one process: its sockets and connections are reached by the next one
// through copies of their descriptors only.
type generation struct {
	set *Set
	srv *http.Server
	ln  net.Listener
	n   int
}

// next starts a generation that listens where from does, or anew.
func next(t testing.TB, from *generation, srv *http.Server) *generation {
	t.Helper()
	g := &generation{set: New(nil, nil), srv: srv, n: 1}
	if from == nil {
		ln, err := g.set.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g.ln = ln
	} else {
		g.n = from.n + 1
		f := dup(from.ln.(*socket).ln) // not File, which makes the socket block for a moment, for all who share it
		ln, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		so := newSocket(g.set, from.ln.(*socket).key, ln.(rawListener), false)
		g.set.sockets[so.key] = so
		g.ln = so
	}
	if srv.Handler == nil {
		srv.Handler = echo(g.n)
	}
	g.set.Track(srv)
	g.set.Open()
	go func() {
		if err := srv.Serve(g.ln); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("generation %d: Serve: %v", g.n, err)
		}
	}()
	t.Cleanup(func() { _ = srv.Close(); g.set.Close() })
	return g
}

func echo(n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost { // "T / HTTP/1.1" is a request too
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Generation", fmt.Sprint(n))
		_, _ = w.Write(body)
	})
}

// handTo is a Handover within the process.
func (g *generation) handTo(to *generation) Handover {
	return func(tickets []Ticket, conns []syscall.Conn) (took []bool, err error) {
		var files []*os.File
		for _, c := range conns {
			if f := dup(c); f != nil {
				files = append(files, f)
			}
		}
		err = to.set.Adopt(tickets, files, func(t []bool) error { took = t; return nil })
		return took, err
	}
}

func dup(c syscall.Conn) (f *os.File) {
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) {
			if nfd, err := syscall.Dup(int(fd)); err == nil {
				f = os.NewFile(uintptr(nfd), "dup")
			}
		})
	}
	return f
}

// client is the one that never retries.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, g *generation) *client {
	t.Helper()
	nc, err := net.Dial("tcp", g.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute)) // against hangs only
	return &client{t, nc, bufio.NewReader(nc)}
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatal(err)
	}
}

// want reads one response and returns the generation that sent it.
func (c *client) want(body string) string {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("no response to %.20q: %v", body, err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		c.t.Fatalf("response to %.20q: %.20q, %v", body, got, err)
	}
	if resp.Close {
		c.t.Fatalf("response to %.20q closes the connection", body)
	}
	return resp.Header.Get("X-Generation")
}

func (g *generation) await(t testing.TB, what string, f func(Counts) bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(g.set.Counts()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("generation %d: %s: %+v", g.n, what, g.set.Counts())
		}
	}
}

// leave begins to leave and returns a function that waits for the end of it.
func (g *generation) leave(t testing.TB, to *generation) (wait func()) {
	done := make(chan error, 1)
	go func() { done <- g.set.Leave(context.Background(), g.handTo(to), time.Minute) }()
	return func() {
		t.Helper()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("generation %d does not leave: %+v", g.n, g.set.Counts())
		}
		if n := g.set.Counts(); n.Lost != 0 {
			t.Fatalf("loss ledger: %+v", n)
		}
	}
}

// wantReads waits until the server has read n bytes from c's connection and waits for more.
func (g *generation) wantHeard(t testing.TB, n int) {
	t.Helper()
	g.await(t, "no bytes arrive", func(Counts) bool {
		g.set.mu.Lock()
		defer g.set.mu.Unlock()
		heard := 0
		for c := range g.set.conns {
			if c.heard.Load() && unread(c.Conn) == 0 {
				heard++
			}
		}
		return heard == n
	})
}

func TestIdleAndNewConnectionsMove(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle, fresh := dial(t, one), dial(t, one)
	idle.send(post("a"))
	idle.want("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
	two := next(t, one, &http.Server{})
	one.leave(t, two)()
	for _, c := range []*client{idle, fresh} {
		c.send(post("b"))
		if g := c.want("b"); g != "2" {
			t.Errorf("generation %s answers", g)
		}
	}
	if n := two.set.Counts(); n.Adopted != 2 {
		t.Errorf("%+v", n)
	}
}

// Each way to send a request in two parts with the swap between them: whoever has read the first part must read the
// second. The first part may end where net/http's buffer is empty although it has consumed a line.
func TestRequestInTwoHalvesStays(t *testing.T) {
	req := post("hello")
	for cut := 1; cut < len(req); cut++ {
		t.Run(fmt.Sprintf("%q", req[max(0, cut-5):cut]), func(t *testing.T) {
			for _, before := range []string{"", "new"} {
				one := next(t, nil, &http.Server{})
				c := dial(t, one)
				if before == "" {
					c.send(post("first"))
					c.want("first")
					one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
				}
				c.send(req[:cut])
				one.wantHeard(t, 1)
				two := next(t, one, &http.Server{})
				wait := one.leave(t, two)
				c.send(req[cut:])
				if g := c.want("hello"); g != "1" {
					t.Errorf("generation %s answers", g)
				}
				wait()
				c.send(post("next"))
				if g := c.want("next"); g != "2" {
					t.Errorf("then generation %s answers", g)
				}
			}
		})
	}
}

// A pipelined request whose beginning came with the one before: net/http has it in its buffer, or has consumed lines of it.
func TestPipelinedHalfStays(t *testing.T) {
	req := post("hello")
	for cut := 0; cut <= len(req); cut++ {
		t.Run(fmt.Sprintf("%q", req[max(0, cut-5):cut]), func(t *testing.T) {
			release := make(chan struct{})
			entered := make(chan struct{}, 2)
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-release
				echo(1).ServeHTTP(w, r)
			})})
			c := dial(t, one)
			c.send(post("first") + req[:cut])
			<-entered
			two := next(t, one, &http.Server{})
			wait := one.leave(t, two)
			close(release)
			c.want("first")
			c.send(req[cut:] + post("third"))
			c.want("hello")
			c.want("third")
			wait()
		})
	}
}

// Clients that cut and pipeline at random, through generations that follow each other as fast as they can.
func TestNothingIsLostAtAnyCut(t *testing.T) {
	const clients, rounds = 16, 300
	gen := next(t, nil, &http.Server{})
	var wg sync.WaitGroup
	for i := range clients {
		c := dial(t, gen)
		rnd := rand.New(rand.NewPCG(uint64(i), 1))
		wg.Go(func() {
			for round := range rounds {
				var bodies []string
				var stream bytes.Buffer
				for range 1 + rnd.IntN(3) {
					bodies = append(bodies, fmt.Sprintf("%d/%d %s", i, round, strings.Repeat("x", rnd.IntN(3)*rnd.IntN(4000))))
					stream.WriteString(post(bodies[len(bodies)-1]))
				}
				for stream.Len() > 0 {
					if _, err := c.nc.Write(stream.Next(1 + rnd.IntN(stream.Len()))); err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
				}
				for _, body := range bodies {
					resp, err := http.ReadResponse(c.br, nil)
					if err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body || resp.Close {
						t.Errorf("client %d: got %.20q, want %.20q, %v, close %v", i, got, body, err, resp.Close)
						return
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	swaps := 0
	for ; !isDone(done); swaps++ {
		two := next(t, gen, &http.Server{})
		gen.leave(t, two)()
		gen = two
	}
	t.Logf("%d rounds of %d clients through %d generations", rounds, clients, swaps)
	if swaps < 3 {
		t.Errorf("only %d generations: the test shows nothing", swaps)
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
