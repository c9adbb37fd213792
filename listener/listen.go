package listener

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"syscall"

	"github.com/baton-go/baton/listener/internal/dgram"
	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sockopt"
	"github.com/cloudflare/tableflip"
)

// Listen returns the inherited listener for network ("tcp", "tcp4", "tcp6" or "unix") and address,
// or opens one. After Inherit, an inherited listener is found by what it is bound to, however it is
// spelled; without, tableflip's are found by network and address as they are written. The caller,
// or the http.Server it gives it to, closes the listener. What a service manager has passed, and
// network "fd": see Manage.
//
// An address that overlaps that of an inherited listener which nobody has asked for, ":80" instead
// of "127.0.0.1:80", can be had on Linux, for TCP: it refuses clients until Open, and they reach
// the inherited one as long. See Unclaimed.
//
// A unix socket's file that nobody listens on any more is replaced.
func (s *Set) Listen(network, address string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix", "fd":
	default:
		return nil, fmt.Errorf("listener: network %q: want tcp, tcp4, tcp6, unix or fd", network)
	}
	key := network + " " + address
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fmt.Errorf("listener: listen %s: the service is leaving", key)
	case s.sockets[key] != nil:
		return nil, fmt.Errorf("listener: listen %s: this service listens there already; use the listener it has", key)
	}
	ln, made, err := s.listen(network, address)
	if err != nil && network == "unix" && removeStale(network, address, err) {
		ln, made, err = s.listen(network, address)
	}
	if err != nil {
		return nil, s.explain(network, address, err)
	}
	so := newSocket(s, key, ln.(sockopt.Listener), s.open)
	so.bound = !sockopt.IsListening(so.ln)
	so.path = madeFile(network, address, made)
	s.sockets[key] = so
	return so, nil
}

// listen also tells whether it has opened the socket.
func (s *Set) listen(network, address string) (ln net.Listener, made bool, err error) {
	for _, as := range quirks.Aliases(network) {
		if s.fds == nil || s.inherits {
			break
		}
		if ln, err = s.fds.Listener(as, address); ln != nil || err != nil {
			return ln, false, err
		}
	}
	p, err := s.claim(network, address, false)
	switch {
	case err != nil:
		return nil, false, err
	case p != nil:
		ln = p.ln
	default:
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // its sockets take no filter, see sockopt.DropHandshakes
		if ln, err = lc.Listen(context.Background(), network, address); errors.Is(err, syscall.EADDRINUSE) {
			if beside := s.beside(network, address); beside != nil {
				ln, err = beside, nil
			}
		}
		if err != nil {
			return nil, false, err
		}
	}
	if s.fds == nil {
		return ln, p == nil, nil
	}
	if err := s.fds.AddListener(s.alias(network, address, p), address, ln.(tableflip.Listener)); err != nil {
		_ = ln.Close()
		return nil, false, err
	}
	return ln, p == nil, nil
}

// Open lets the listeners, those there are and those to come, accept from outside, and the packet sockets read.
func (s *Set) Open() {
	s.mu.Lock()
	s.open = true
	sockets := slices.Collect(maps.Values(s.sockets))
	s.mu.Unlock()
	for _, so := range sockets {
		so.admit()
	}
	for _, g := range s.gates() {
		g.Pass(context.Background(), dgram.Open)
	}
}

// Dial connects to ln, which Listen made, inside this process: its Accept returns the other end,
// also before Open. Ln may be one that wraps such a listener, and has its Addr.
func (s *Set) Dial(ln net.Listener) (net.Conn, error) {
	so := s.below(ln)
	if so == nil {
		return nil, errors.New("listener: dial: not a listener of this set")
	}
	near, far := net.Pipe()
	c := &conn{Conn: far, set: s, sock: so}
	if !so.enqueue(c) {
		return nil, fmt.Errorf("listener: dial %s: %w", so.key, net.ErrClosed)
	}
	return near, nil
}
