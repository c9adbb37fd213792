//go:build unix

package listener

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

func TestMain(m *testing.M) {
	handshakeTime = time.Millisecond
	flag.Parse()
	// Tests that are parallel wait for a grace or a deadline, and hardly compute. Fuzzers do.
	fuzzes := flag.Lookup("test.fuzz").Value.String() != ""
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue && !fuzzes {
		_ = f.Value.Set(fmt.Sprint(8 * runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}

// loopback is an address of this process alone, where all of 127.0.0.0/8 is local. At 127.0.0.1 a client of another
// test process, which still dials a server that has ended, can reach a generation of this one.
var loopback = sync.OnceValue(func() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1:0"
	}
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16, pid>>8&0xff, pid&0xff)
})

// generation is a server that plays the part of one process: its sockets and connections are reached by the next one
// through copies of their descriptors only.
type generation struct {
	set *Set
	srv *http.Server
	ln  net.Listener
	n   int
}

// next starts a generation that listens where from does, or anew.
func next(t testing.TB, from *generation, srv *http.Server, around ...func(net.Listener) net.Listener) *generation {
	t.Helper()
	g := listening(t, from)
	g.srv = srv
	if srv.Handler == nil {
		srv.Handler = echo(g.n)
	}
	g.set.Track(srv)
	ln := g.ln
	for _, wrap := range around {
		ln = wrap(ln)
	}
	g.serve(t, func() error { return g.set.Serve(srv, ln) })
	t.Cleanup(func() { _ = srv.Close() })
	return g
}

// listening is a generation that does not serve yet.
func listening(t testing.TB, from *generation) *generation {
	t.Helper()
	g := &generation{set: New(Config{}), n: 1}
	if from == nil {
		ln := mustListen(t, g.set, "tcp", loopback())
		g.ln = ln
	} else {
		g.n = from.n + 1
		f := dup(from.ln.(*socket).ln) // not File, which makes the socket block for a moment, for all who share it
		ln, err := net.FileListener(f)
		_ = f.Close()
		check(t, err)
		so := newSocket(g.set, from.ln.(*socket).key, ln.(sockopt.Listener), false)
		g.set.hold(so)
		g.ln = so
	}
	t.Cleanup(func() { g.set.Close() })
	return g
}

func (g *generation) serve(t testing.TB, serve func() error) {
	g.set.Open()
	go func() {
		if err := serve(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("generation %d: Serve: %v", g.n, err)
		}
	}()
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
		var fds []int
		for _, c := range conns {
			if fd := dupFD(c); fd >= 0 {
				fds = append(fds, fd)
			}
		}
		err = to.set.AdoptFDs(tickets, fds, func(t []bool) error { took = t; return nil })
		return took, err
	}
}

// seed is the same in each run, if not set by BATON_SEED.
func seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv("BATON_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("BATON_SEED: %v; want a number", err)
		}
	}
	t.Logf("BATON_SEED=%d", seed)
	return seed
}

func dup(c syscall.Conn) *os.File {
	if fd := dupFD(c); fd >= 0 {
		return os.NewFile(uintptr(fd), "dup")
	}
	return nil
}

// dupFD returns a copy of a descriptor, or -1.
func dupFD(c syscall.Conn) (copied int) {
	copied = -1
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) {
			if nfd, err := syscall.Dup(int(fd)); err == nil {
				copied = nfd
			}
		})
	}
	return copied
}

// client is the one that never retries.
type client struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, g *generation) *client {
	t.Helper()
	nc := dialTo(t, g.ln.Addr())
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute)) // against hangs only
	return &client{t, nc, bufio.NewReader(nc)}
}

// dialTo connects to what listens there, until the test ends.
func dialTo(t testing.TB, at net.Addr) net.Conn {
	t.Helper()
	nc, err := net.Dial(at.Network(), at.String())
	check(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func mustWrite[T string | []byte](t testing.TB, w io.Writer, p T) {
	t.Helper()
	_, err := w.Write([]byte(p))
	check(t, err)
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

// ask sends a request, and returns the generation that answers.
func (c *client) ask(body string) string {
	c.t.Helper()
	c.send(post(body))
	return c.want(body)
}

// want reads one response, behind which the connection stays, and returns the generation that sent it.
func (c *client) want(body string) string {
	c.t.Helper()
	resp := c.wantAnswer(body)
	if resp.Close {
		c.t.Fatalf("response to %.20q closes the connection", body)
	}
	return resp.Header.Get("X-Generation")
}

// wantAnswer reads one response.
func (c *client) wantAnswer(body string) *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("no response to %.20q: %v", body, err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body {
		c.t.Fatalf("response to %.20q: %.20q, %v", body, got, err)
	}
	return resp
}

func (g *generation) await(t testing.TB, what string, f func(Counts) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(g.set.Counts()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("generation %d: %s: %+v", g.n, what, g.set.Counts())
		}
	}
}

// depart begins to leave and returns, once the connections know, a function that waits for the end of it.
func (g *generation) depart(t testing.TB, handover Handover, grace time.Duration) (wait func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- g.set.Leave(context.Background(), handover, grace) }()
	g.await(t, "listener still open", func(Counts) bool { return len(g.set.Listeners()) == 0 })
	return func() {
		t.Helper()
		select {
		case err := <-done:
			check(t, err)
		case <-time.After(patience):
			t.Fatalf("generation %d does not leave: %+v", g.n, g.set.Counts())
		}
	}
}

// leave is depart for a generation that hands its connections over, and loses nothing.
func (g *generation) leave(t testing.TB, to *generation) (wait func()) {
	left := g.depart(t, g.handTo(to), time.Minute)
	return func() {
		t.Helper()
		left()
		if n := g.set.Counts(); n.Lost != 0 {
			t.Fatalf("loss ledger: %+v", n)
		}
	}
}

// idle returns a client that waits behind an answer, as the server knows.
func idle(t testing.TB, g *generation) *client {
	t.Helper()
	n := g.set.Counts().Idle
	c := dial(t, g)
	c.ask("a")
	g.await(t, "not idle", func(now Counts) bool { return now.Idle > n })
	return c
}

// wantReads waits until the server has read n bytes from c's connection and waits for more.
func (g *generation) wantHeard(t testing.TB, n int) {
	t.Helper()
	g.await(t, "no bytes arrive", func(Counts) bool {
		g.set.mu.Lock()
		defer g.set.mu.Unlock()
		heard := 0
		for c := range g.set.conns {
			if c.input.sinceIdle.Load() && sockopt.Unread(c.Conn) == 0 {
				heard++
			}
		}
		return heard == n
	})
}

func pair(t testing.TB) (*client, *net.TCPConn) {
	t.Helper()
	raw := mustOpen(t, "tcp", "127.0.0.1:0")
	defer raw.Close()
	cl := dial(t, &generation{ln: raw})
	far, err := raw.Accept()
	check(t, err)
	t.Cleanup(func() { _ = far.Close() })
	return cl, far.(*net.TCPConn)
}

func dups(t testing.TB, conns []syscall.Conn) (files []*os.File) {
	t.Helper()
	for _, c := range conns {
		rc, err := c.SyscallConn()
		if err != nil {
			t.Error(err)
			return nil
		}
		_ = rc.Control(func(fd uintptr) {
			nfd, err := syscall.Dup(int(fd))
			if err != nil {
				t.Error(err)
			}
			files = append(files, os.NewFile(uintptr(nfd), "dup"))
		})
	}
	return files
}

// descriptorLimit raises the limit as far as it goes.
func descriptorLimit(t testing.TB) int {
	t.Helper()
	var lim syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim))
	lim.Cur = lim.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
	return int(min(uint64(lim.Cur), 1<<20))
}
