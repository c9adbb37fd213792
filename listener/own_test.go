//go:build unix

package listener

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// raw is a generation whose listener has no server.
func raw(t testing.TB, from *generation) *generation {
	t.Helper()
	g := &generation{set: New(Config{}), n: 1}
	t.Cleanup(func() { g.set.Close() })
	if from == nil {
		ln := mustListen(t, g.set, "tcp", "127.0.0.1:0")
		g.ln = ln
		g.set.Open()
		return g
	}
	g.n = from.n + 1
	ln := mustOpen(t, "tcp", "127.0.0.1:0")
	so := newSocket(g.set, from.ln.(*socket).key, ln.(sockopt.Listener), true)
	g.set.hold(so)
	g.ln = so
	return g
}

func (g *generation) accept(t testing.TB) (*client, net.Conn) {
	t.Helper()
	c := dial(t, g)
	nc, err := g.ln.Accept()
	check(t, err)
	return c, nc
}

// giveTo is what HandOver calls, with a peer in the same process.
func (g *generation) giveTo(t testing.TB, adopt func(net.Conn, []byte) error) func(Ticket, syscall.Conn) error {
	return func(ticket Ticket, c syscall.Conn) (answer error) {
		f := dups(t, []syscall.Conn{c})[0]
		take := func(nc net.Conn) error { return adopt(nc, ticket.State) }
		err := g.set.AdoptOwn(ticket, f, take, func(err error) error {
			answer = err
			return nil
		})
		return errors.Join(answer, err)
	}
}

func wantErr(t testing.TB, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("error is %v; want %q", err, words)
	}
}

func wantEcho(t testing.TB, c *client, nc net.Conn) {
	t.Helper()
	c.send("hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestHandOverOfAnApplicationsConnection(t *testing.T) {
	one := raw(t, nil)
	two := raw(t, one)
	c, nc := one.accept(t)
	_ = nc.SetDeadline(time.Unix(1, 0)) // stays here
	var got net.Conn
	err := one.set.HandOver(nc, []byte("state"), two.giveTo(t, func(nc net.Conn, state []byte) error {
		if string(state) != "state" {
			t.Errorf("state %q", state)
		}
		got = nc
		return nil
	}))
	check(t, err)
	wantEcho(t, c, got)
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read here: %v", err)
	}
	wantErr(t, one.set.HandOver(nc, nil, nil), "has been handed over")
	if n := one.set.Counts(); n.Open() != 0 || n.Moved != 1 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
	if n := two.set.Counts(); n.Other != 1 || n.Adopted != 1 {
		t.Errorf("%+v", n)
	}
	if !nonblocking(t, got) {
		t.Error("the descriptor blocks")
	}
}

func nonblocking(t testing.TB, nc net.Conn) (yes bool) {
	t.Helper()
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
			yes = err == nil && flags&unix.O_NONBLOCK != 0
		})
	}
	if err != nil {
		t.Error(err)
	}
	return yes
}

func TestRefusedHandOverChangesNothing(t *testing.T) {
	one := raw(t, nil)
	two := raw(t, one)
	c, nc := one.accept(t)
	refusal := errors.New("what is this?")
	var got net.Conn
	err := one.set.HandOver(nc, nil, two.giveTo(t, func(nc net.Conn, _ []byte) error { got = nc; return refusal }))
	if !errors.Is(err, refusal) {
		t.Error(err)
	}
	if _, err := got.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read there: %v", err)
	}
	wantEcho(t, c, nc)
	two.set.Close()
	wantErr(t, one.set.HandOver(nc, nil, two.giveTo(t, nil)), "does not listen")
	wantEcho(t, c, nc)
	if n := two.set.Counts(); n.Open() != 0 || n.Adopted != 0 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A process that closes what it does not take, or does not take after all, closes nothing but its own descriptor.
func TestClosedByAdoptStaysWhereItWas(t *testing.T) {
	refusal := errors.New("what is this?")
	for name, x := range map[string]struct{ adopt, ack error }{
		"refused": {adopt: refusal}, "withdrawn": {ack: ErrWithdrawn},
	} {
		t.Run(name, func(t *testing.T) {
			one := raw(t, nil)
			two := raw(t, one)
			c, nc := one.accept(t)
			err := one.set.HandOver(nc, nil, func(ticket Ticket, sc syscall.Conn) error {
				f := dups(t, []syscall.Conn{sc})[0]
				return errors.Join(refusal, two.set.AdoptOwn(ticket, f, func(nc net.Conn) error {
					return errors.Join(nc.Close(), x.adopt)
				}, func(error) error { return x.ack }))
			})
			if !errors.Is(err, refusal) {
				t.Error(err)
			}
			wantEcho(t, c, nc)
		})
	}
}

func TestWhatHandOverDoesNotTake(t *testing.T) {
	one, other := raw(t, nil), raw(t, nil)
	never := func(Ticket, syscall.Conn) error { t.Error("handed over"); return nil }
	_, nc := one.accept(t)
	_, foreign := other.accept(t)
	_, bare := pair(t)
	inside, err := one.set.Dial(one.ln)
	check(t, err)
	defer inside.Close()
	piped, err := one.ln.Accept()
	check(t, err)
	served := next(t, nil, &http.Server{})
	idle(t, served)
	for _, c := range []struct {
		set   *Set
		nc    net.Conn
		words string
	}{
		{one.set, nil, "not a connection of a listener"},
		{one.set, foreign, "not a connection of a listener"},
		{one.set, bare, "not a connection of a listener"},
		{one.set, tls.Server(nc, &tls.Config{}), "TLS"},
		{one.set, piped, "within this process"},
		{served.set, served.set.all()[0].netConn(), "hijack it first"},
	} {
		err := c.set.HandOver(c.nc, nil, never)
		wantErr(t, err, c.words)
		if never := c.words == "TLS" || c.nc == piped; errors.Is(err, errors.ErrUnsupported) != never {
			t.Errorf("%v: unsupported %v, want %v", err, !never, never)
		}
	}
	_ = nc.Close()
	if err := one.set.HandOver(nc, nil, never); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestHandOverTwiceAtOnce(t *testing.T) {
	one := raw(t, nil)
	_, nc := one.accept(t)
	err := one.set.HandOver(nc, nil, func(Ticket, syscall.Conn) error {
		return one.set.HandOver(nc, nil, func(Ticket, syscall.Conn) error { t.Error("twice"); return nil })
	})
	wantErr(t, err, "about to be")
}

func TestCloseWhileHandedOver(t *testing.T) {
	one := raw(t, nil)
	two := raw(t, one)
	c, nc := one.accept(t)
	var got net.Conn
	give := two.giveTo(t, func(nc net.Conn, _ []byte) error { got = nc; return nil })
	if err := one.set.HandOver(nc, nil, func(ticket Ticket, sc syscall.Conn) error {
		err := give(ticket, sc)
		_ = nc.Close()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, got)
}

// As long as the other process doesn't know that it is rid of the connection it may get it back.
func TestAdoptedConnectionIsNotReadBeforeTheAnswer(t *testing.T) {
	one := raw(t, nil)
	two := raw(t, one)
	c, nc := one.accept(t)
	c.send("hello")
	one.await(t, "no bytes", func(Counts) bool { return one.unread() == 5 })
	var reader sync.WaitGroup
	var mu sync.Mutex
	answered := false
	err := one.set.HandOver(nc, nil, func(ticket Ticket, sc syscall.Conn) error {
		f := dups(t, []syscall.Conn{sc})[0]
		return two.set.AdoptOwn(ticket, f, func(nc net.Conn) error {
			reader.Go(func() {
				b := make([]byte, 5)
				_, err := io.ReadFull(nc, b)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || !answered {
					t.Errorf("%q, %v; the answer was given: %v", b, err, answered)
				}
			})
			return nil
		}, func(error) error {
			for range 100 { // the reader had its chance
				_ = sockopt.Unread(two.set.all()[0].Conn)
			}
			mu.Lock()
			defer mu.Unlock()
			answered = sockopt.Unread(two.set.all()[0].Conn) == 5
			return nil
		})
	})
	reader.Wait()
	if err != nil {
		t.Error(err)
	}
}

func TestAdoptOwnOfWhatIsNoConnection(t *testing.T) {
	two := raw(t, nil)
	key := two.ln.(*socket).key
	for name, f := range oddFiles(t) {
		t.Run(name, func(t *testing.T) {
			err := two.set.AdoptOwn(Ticket{Listener: key}, f, func(net.Conn) error { t.Error("adopted"); return nil },
				func(err error) error { return err })
			if err == nil || two.set.Counts().Open() != 0 {
				t.Errorf("%v, %+v", err, two.set.Counts())
			}
		})
	}
}

// oddFiles are descriptors that are no connection.
func oddFiles(t testing.TB) map[string]*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { _ = w.Close() })
	dir, err := os.Open(".")
	check(t, err)
	ln := mustOpen(t, "tcp", "127.0.0.1:0")
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = pc.Close() })
	return map[string]*os.File{
		"pipe": r, "folder": dir, "listening socket": dup(ln.(syscall.Conn)), "datagram socket": dup(pc.(syscall.Conn)),
	}
}
