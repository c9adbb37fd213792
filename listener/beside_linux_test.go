package listener

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// N stands for the port.
func TestBesideAnInheritedSocket(t *testing.T) {
	for _, x := range []struct{ network, address, newNetwork, newAddress string }{
		{"tcp", "127.0.0.1:0", "tcp", ":%d"},
		{"tcp", "127.0.0.1:0", "tcp4", "0.0.0.0:%d"},
		{"tcp", ":0", "tcp", "127.0.0.1:%d"},
		{"tcp", ":0", "tcp4", ":%d"},
		{"tcp", ":0", "tcp6", ":%d"},
		{"tcp4", ":0", "tcp", ":%d"},
		{"tcp6", ":0", "tcp", ":%d"},
		{"tcp", "[::1]:0", "tcp6", ":%d"},
		{"tcp", ":0", "tcp", "[::1]:%d"},
	} {
		t.Run(fmt.Sprint(x), func(t *testing.T) {
			var in Inherited
			var next *Set
			var ln net.Listener
			err := error(syscall.EADDRINUSE)
			for range 5 { // a client of another test may have the port on another address
				if !errors.Is(err, syscall.EADDRINUSE) {
					break
				}
				var addr net.Addr
				in, addr = inheritance(t, x.network, x.address)
				next = New(Config{})
				defer next.Close()
				next.Inherit([]Inherited{in})
				ln, err = next.Listen(x.newNetwork, fmt.Sprintf(x.newAddress, addr.(*net.TCPAddr).Port))
			}
			check(t, err)
			so := ln.(*socket)
			if sockopt.IsListening(so.ln) {
				t.Error("it listens before Open")
			}
			if got := next.Unclaimed(); len(got) != 1 || got[0] != in.key() {
				t.Errorf("unclaimed: %q", got)
			}
			next.Open()
			if !sockopt.IsListening(so.ln) || so.bound {
				t.Error("it does not listen after Open")
			}
			nc, err := net.Dial("tcp", so.Addr().String())
			check(t, err)
			_ = nc.Close()
		})
	}
}

// What the service manager goes on to listen on, and what this process listens on itself, is in the way as ever.
func TestNotBeside(t *testing.T) {
	in, addr := inheritance(t, "tcp", "127.0.0.2:0")
	port := addr.(*net.TCPAddr).Port
	for name, begin := range map[string]func(*Set){
		"a socket unit": func(s *Set) { s.stored[in.key()] = "http" },
		"one of its own": func(s *Set) {
			if _, err := s.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
				t.Error(err)
			}
		},
	} {
		next := New(Config{})
		next.Inherit([]Inherited{in})
		begin(next)
		if _, err := next.Listen("tcp", fmt.Sprintf(":%d", port)); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v", name, err)
		}
		next.Close()
	}
}

// A socket that can't listen at Open, since another one is in the way, does when that has gone: Accept says
// so meanwhile.
func TestListensLater(t *testing.T) {
	in, addr := inheritance(t, "tcp", "127.0.0.1:0")
	next := New(Config{})
	defer next.Close()
	next.Inherit([]Inherited{in})
	ln := mustListen(t, next, "tcp", fmt.Sprintf(":%d", addr.(*net.TCPAddr).Port))
	_ = sockopt.SetReusePort(ln.(*socket).ln, false) // now the inherited one is in the way
	next.Open()
	_, err := ln.Accept()
	var again interface{ Temporary() bool } // by which net/http knows that it may try again
	if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &again) || !again.Temporary() {
		t.Fatalf("%v; want a temporary error", err)
	}
	_ = sockopt.SetReusePort(ln.(*socket).ln, true)
	accepted := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			err = nc.Close()
		}
		accepted <- err
	}()
	other := fmt.Sprintf("127.0.0.2:%d", addr.(*net.TCPAddr).Port) // nobody else listens there
	nc, err := net.Dial("tcp", other)
	for errors.Is(err, syscall.ECONNREFUSED) && len(accepted) == 0 { // Accept has not begun
		nc, err = net.Dial("tcp", other)
	}
	check(t, err)
	defer nc.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

// Where one process takes over and wants other addresses, the clients in the queues of the ones left are served, and
// who comes later is refused, or another socket's.
func TestOrphanServesItsQueue(t *testing.T) {
	set := New(Config{})
	defer set.Close()
	so := mustListen(t, set, "tcp", "127.0.0.1:0").(*socket)
	f := dup(so.ln) // as the process that takes over has one for a while
	defer f.Close()
	set.Open()
	const n = 20
	for range n {
		_ = dialTo(t, so.Addr())
	}
	set.Orphan([]string{so.key})
	<-set.shut(t.Context(), true, false)
	if len(so.queue) != n {
		t.Errorf("%d are served; want %d", len(so.queue), n)
	}
	if nc, err := net.Dial("tcp", so.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v; want to be refused", nc, err)
	}
	for len(so.queue) > 0 {
		_ = so.dequeue().Close()
	}
}
