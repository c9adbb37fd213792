package health

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
)

// door is a port in memory: at most one listener is open on it.
type door struct {
	mu  sync.Mutex // guards ln
	ln  *doorListener
	err error // of listen
}

type doorListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return stringAddr(f.addr) }

type stringAddr string

func (stringAddr) Network() string  { return "tcp" }
func (a stringAddr) String() string { return string(a) }

func (d *door) listen() (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	d.ln = &doorListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return d.ln, nil
}

// dial is refused when nobody listens.
func (d *door) dial(remote string) (net.Conn, error) {
	d.mu.Lock()
	ln := d.ln
	d.mu.Unlock()
	if ln == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	select {
	case ln.conns <- from{far, remote}:
		return near, nil
	case <-ln.closed:
		return nil, syscall.ECONNREFUSED
	}
}

// knock is a heartbeat.
func (d *door) knock(remote string) error {
	nc, err := d.dial(remote)
	if err == nil {
		_ = nc.Close()
	}
	return err
}

func (l *doorListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *doorListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *doorListener) Addr() net.Addr { return stringAddr("door") }

func (d *door) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// heartbeat serves heartbeats of s until the end of the test.
func heartbeat(t testing.TB, s *State) *door {
	t.Helper()
	d := new(door)
	h, err := s.NewHeartbeat(d.listen)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := h.Serve(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { h.Close(); served.Wait() })
	return d
}

// agent serves agent-checks of s until the end of the test.
func agent(t testing.TB, s *State) *door {
	t.Helper()
	d := new(door)
	ln, err := d.listen()
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { s.ServeAgent(ln) })
	t.Cleanup(func() { _ = ln.Close(); served.Wait() })
	return d
}

func wantRefused(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting: %v, want it to be refused", err)
	}
}
