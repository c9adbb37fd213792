package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/dgram"
	"github.com/baton-go/baton/listener/internal/place"
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
// The address may overlap that of an inherited listener that is unclaimed, as ":80" overlaps "127.0.0.1:80". On Linux,
// for TCP, that works: the new listener refuses clients until Open, and until then they reach the inherited one. See
// Unclaimed.
//
// A unix socket's file on which no process listens any more is replaced. Where the file of an inherited socket is gone,
// or another program's, a new socket takes its place, if it can: the inherited one is unclaimed.
//
// What Accept returns is no *net.TCPConn or *net.UnixConn: such type assertions fail. It has
// CloseWrite, SyscallConn, NetConn and, for TCP, ReadFrom. NetConn returns the *net.TCPConn or *net.UnixConn. Only
// its options are yours: SetNoDelay, SetKeepAliveConfig, SetLinger, buffers, and getsockopt by SyscallConn, as for
// the credentials of a peer. Its Read, Write, Close, deadlines and File go behind the back of the set, which then
// loses bytes, or the connection. The listener has SyscallConn too, for the same.
func (s *Set) Listen(network, address string) (net.Listener, error) {
	return s.ListenWith(net.ListenConfig{}, network, address)
}

// ListenWith is Listen with the Control and keep-alive of lc. Control is called for a socket that is opened here. One
// that is inherited, or passed by a service manager, has the options that it was opened with: to change these, use the
// SyscallConn of the listener. The keep-alive of lc is that of all connections that are accepted here, also from such
// a socket. A connection that is handed over keeps its own, and its TCP_NODELAY.
//
// It returns an error for another network, for an address on which this set listens already, after Leave or Close has
// begun, and where the address can't be had. That one says what holds the address, as far as it is known, and the cure.
//
// Multipath TCP is off, whatever lc says: Leave could not keep new handshakes out. SO_REUSEPORT is for sharing an
// address with other services; a swap needs none.
func (s *Set) ListenWith(lc net.ListenConfig, network, address string) (net.Listener, error) {
	key := network + " " + address
	s.mu.Lock()
	defer s.mu.Unlock()
	shares := false
	if control := lc.Control; control != nil {
		lc.Control = func(network, address string, rc syscall.RawConn) error {
			err := control(network, address, rc)
			shares = sockopt.SharesPort(rc) // before listenBeside does
			return err
		}
	}
	ln, made, err := inheritOrOpen(s, network, address, socketKind[net.Listener]{
		networks:  []string{"tcp", "tcp4", "tcp6", "unix"},
		taken:     s.sockets[key] != nil,
		inherited: func(as string) (net.Listener, error) { return s.cfg.Fds.Listener(as, address) },
		passed:    func(p *inheritedSocket) net.Listener { return p.ln },
		open:      func() (net.Listener, error) { return s.openListener(lc, network, address) },
		add: func(as string, ln net.Listener) error {
			return s.cfg.Fds.AddListener(as, address, ln.(tableflip.Listener))
		},
	})
	if err != nil {
		return nil, err
	}
	so := newSocket(s, key, ln.(sockopt.Listener), s.open)
	so.bound = !sockopt.IsListening(so.ln)
	so.keepAlive, so.keepAliveConfig, so.shares = lc.KeepAlive, lc.KeepAliveConfig, shares
	if rc, err := so.SyscallConn(); err == nil && !made {
		so.shares = sockopt.SharesPort(rc)
	}
	so.made, so.path = made, madeFile(network, address, made)
	s.hold(so)
	return so, nil
}

func (s *Set) openListener(lc net.ListenConfig, network, address string) (net.Listener, error) {
	lc.SetMultipathTCP(false) // its sockets take no filter, see sockopt.DropHandshakes
	ln, err := lc.Listen(context.Background(), network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		if beside := s.listenBeside(network, address, lc.Control); beside != nil {
			return beside, nil
		}
	}
	return ln, err
}

// socketKind is how a process comes by sockets of one kind, and passes them on.
type socketKind[T io.Closer] struct {
	networks  []string // but for "fd"
	taken     bool     // the set has such a socket already
	inherited func(as string) (T, error)
	passed    func(*inheritedSocket) T // nothing where that is of the other kind
	open      func() (T, error)
	add       func(as string, socket T) error
}

// inheritOrOpen returns the socket for network and address that was inherited or passed, or opens
// one; made tells that it was opened. The caller holds mu.
func inheritOrOpen[T io.Closer](s *Set, network, address string, w socketKind[T]) (socket T, made bool, err error) {
	switch key := network + " " + address; {
	case network != "fd" && !slices.Contains(w.networks, network):
		err = fmt.Errorf("listener: network %q: want %s or fd", network, strings.Join(w.networks, ", "))
	case s.closed:
		err = fmt.Errorf("listener: listen %s: the service is leaving", key)
	case w.taken:
		err = fmt.Errorf("listener: listen %s: this service listens there already; use what it has", key)
	}
	if err != nil {
		return socket, false, err
	}
	defer func() { err = s.explain(network, address, err) }()
	for _, as := range quirks.Aliases(network) {
		if s.cfg.Fds == nil || s.inherits {
			break
		}
		if socket, err = w.inherited(as); any(socket) != nil || err != nil {
			return socket, false, err
		}
	}
	p, err := s.take(network, address, func(p *inheritedSocket) bool { return any(w.passed(p)) != nil })
	if err != nil {
		return socket, false, err
	}
	lost := place.IsUnix(network) && s.isLost(p, address)
	if lost && network == "unixgram" {
		p, lost = s.replace(p, address, errStays), false
	}
	if p == nil || lost {
		socket, err = w.open()
		if err != nil && place.IsUnix(network) && removeStale(network, address, err) {
			socket, err = w.open()
		}
		if lost {
			p, err = s.replace(p, address, err), nil
		}
		if err != nil {
			return socket, false, err
		}
	}
	if p != nil {
		socket = w.passed(p)
	}
	if s.cfg.Fds == nil {
		return socket, p == nil, nil
	}
	if err := w.add(s.alias(network, address, p), socket); err != nil {
		_ = socket.Close()
		return socket, false, err
	}
	return socket, p == nil, nil
}

// Open lets the listeners, those there are and those to come, accept from outside, and the packet
// sockets read.
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
// also before Open. Ln may be one that wraps such a listener, and has its Addr. Dial returns an error for any other
// listener, and net.ErrClosed for one that is closed. The caller closes the connection.
func (s *Set) Dial(ln net.Listener) (net.Conn, error) {
	so := s.below(ln)
	if so == nil {
		return nil, errors.New("listener: dial: not a listener of this set")
	}
	near, far := net.Pipe()
	c := &conn{Conn: far, set: s, sock: so, dialed: true}
	if !so.enqueue(c) {
		return nil, fmt.Errorf("listener: dial %s: %w", so.key, net.ErrClosed)
	}
	return near, nil
}
