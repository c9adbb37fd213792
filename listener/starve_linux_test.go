package listener

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Without descriptors Accept waits for some: a server would log each error, and sleep, also where what comes next needs
// none.
func TestAcceptWaitsForDescriptors(t *testing.T) {
	g := listening(t, nil)
	starved := make(chan string, 1)
	g.set.cfg.OnStarved = func(listener string, _ error) { starved <- listener }
	g.set.Open()
	type result struct {
		net.Conn
		error
	}
	results := make(chan result)
	go func() {
		for {
			nc, err := g.ln.Accept()
			results <- result{nc, err}
			if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	want := func(network string) {
		t.Helper()
		r := <-results
		check(t, r.error)
		if n := r.RemoteAddr().Network(); n != network {
			t.Errorf("from %s, want %s", n, network)
		}
		_ = r.Close()
	}
	first, second := caller(t, g.ln), caller(t, g.ln)
	full := exhaust(t)
	defer func() { full() }()
	first()
	if key := <-starved; key != g.ln.(*socket).key {
		t.Errorf("listener %q", key)
	}
	for range 3 {
		near, err := g.set.Dial(g.ln)
		check(t, err)
		want("pipe")
		_ = near.Close()
	}
	full()
	want("tcp")
	full = exhaust(t)
	second()
	_ = g.ln.Close()
	if r := <-results; !errors.Is(r.error, net.ErrClosed) {
		t.Error(r)
	}
}

// caller is a client that has its descriptor, and connects when it is called.
func caller(t *testing.T, ln net.Listener) (connect func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	at := ln.Addr().(*net.TCPAddr)
	return func() {
		t.Helper()
		check(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte(at.IP.To4()), Port: at.Port}))
	}
}
