// Package listener opens or inherits the sockets of a service, knows the state of every connection on them, and
// lets go of both without losing a request.
//
// A [Set] is the sockets of one process. While the process lives, a Set is a plain net.Listener factory with counts.
// When the process is to be replaced or stopped, [Set.Leave] stops accepting and then lets each connection go when no
// request can be under way on it: plaintext HTTP/1.1 connections at rest go, open, to another process that calls
// [Set.Adopt]; the others are closed after a grace, each when nothing is left unread in it.
//
// When the last process that holds a listening socket leaves, it serves the clients in the kernel's
// queue. Not promised: an answer to a client that connects at that very moment. On Linux it is
// served or refused; elsewhere it can be reset.
package listener

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/baton-go/baton/listener/internal/dgram"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Set is the sockets and connections of one process. Its methods may be called from any goroutine.
type Set struct {
	fds      Fds // nil: nothing is inherited or passed on
	onLoss   func(Loss)
	warning  func(error) // of Warn
	tracked  servers
	cutting  atomic.Bool                   // Close was called
	shuts    sync.Mutex                    // held while the doors are closed
	adopting sync.WaitGroup                // connections are taken in; begun under mu, and not when closed
	leaving  atomic.Pointer[departure]     // nil until Leave
	hurried  atomic.Pointer[time.Duration] // the least that Hurry was called with; nil until then

	starved starvation

	adopted, moved              atomic.Int64
	lost, cutOff, partial, junk atomic.Int64 // see Counts

	mu        sync.Mutex // guards what follows; the locks of sockets and connections come before it
	open      bool
	closed    bool
	sockets   map[string]*socket
	packets   map[string]*dgram.Gate
	passed    []*passed         // by a service manager, not in use yet
	held      map[string]string // by a service manager too: the names it has for them, by key
	store     Store             // nil: there is none
	inherits  bool              // Inherit has been called
	inherited []*heir           // by the process before this one, not in use yet
	orphans   []string          // of Orphan
	conns     map[*conn]struct{}
	empty     chan struct{} // closed by the removal of the last connection; nil while nobody waits
}

// Counts says how many connections are open, by what they do, and what became of others.
type Counts struct {
	New      int `json:"new"`      // connected, has not sent a byte
	Idle     int `json:"idle"`     // between two requests
	Active   int `json:"active"`   // a request is being read or answered
	Hijacked int `json:"hijacked"` // taken over by a handler, not yet closed by it
	HTTP2    int `json:"http2"`    // HTTP/2, whatever it does
	Other    int `json:"other"`    // of servers that were not given to Track, or not with a server yet

	Adopted int64 `json:"adopted"` // taken over from another process, in all
	Moved   int64 `json:"moved"`   // handed over to another process, in all

	// Entries in the loss ledger, in all, by their kind.
	Lost   int64 `json:"lost"`              // requests, perhaps: unread, or cut off
	CutOff int64 `json:"cut_off,omitempty"` // the latter of these; and connections that are hijacked, or "other"
	Part   int64 `json:"part,omitempty"`    // beginnings of requests
	Junk   int64 `json:"junk,omitempty"`
}

// Open is the number of open connections.
func (c Counts) Open() int { return c.New + c.Idle + c.Active + c.Hijacked + c.HTTP2 + c.Other }

// Fds is what a process has inherited, and what it passes on. tableflip's Upgrader.Fds is one. Listener and PacketConn
// return nil where nothing of that name was inherited; what is added is copied.
type Fds interface {
	Listener(network, address string) (net.Listener, error)
	PacketConn(network, address string) (net.PacketConn, error)
	AddListener(network, address string, ln tableflip.Listener) error
	AddPacketConn(network, address string, conn tableflip.PacketConn) error
}

// New returns an empty Set. Its sockets are inherited and passed on through fds; nil means that this process neither
// inherits nor passes on. onLoss, when not nil, is called once for each entry in the loss ledger, on the goroutine that
// closes the connection.
//
// Until Open is called, the listeners accept nothing from outside: clients wait in the kernel's queue.
func New(fds Fds, onLoss func(Loss)) *Set {
	if onLoss == nil {
		onLoss = func(Loss) {}
	}
	return &Set{
		fds: fds, onLoss: onLoss, warning: func(error) {},
		sockets: make(map[string]*socket), packets: make(map[string]*dgram.Gate),
		held: make(map[string]string), conns: make(map[*conn]struct{}),
	}
}

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

// kept is added to the network under which tableflip knows a unix socket that a service manager may
// hold. It would remove the file of one that it knows as "unix" or "unixgram" when the process
// stops.
const kept = ", kept"

// aliases are the networks under which tableflip may know a socket.
func aliases(network string) []string {
	if network == "unix" || network == "unixgram" {
		return []string{network, network + kept}
	}
	return []string{network}
}

// alias is the one for a socket, which p says came from elsewhere.
func (s *Set) alias(network, address string, p *passed) string {
	if all := aliases(network); p != nil && p.heir == nil || s.store != nil || s.held[network+" "+address] != "" {
		return all[len(all)-1]
	}
	return network
}

// listen also tells whether it has opened the socket.
func (s *Set) listen(network, address string) (ln net.Listener, made bool, err error) {
	for _, as := range aliases(network) {
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

// madeFile is the file of a unix socket that this process has made; "" where it has not.
func madeFile(network, address string, made bool) string {
	if !made || !strings.HasPrefix(network, "unix") || strings.HasPrefix(address, "@") {
		return ""
	}
	return address
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

// Made tells whether Listen has returned ln, with nothing around it.
func (s *Set) Made(ln net.Listener) bool {
	so, ok := ln.(*socket)
	return ok && so.set == s
}

// below is the socket that ln is, or wraps.
func (s *Set) below(ln net.Listener) *socket {
	if s.Made(ln) {
		return ln.(*socket)
	}
	if _, other := ln.(*socket); other {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := ln.Addr()
	for _, so := range s.sockets {
		if have := so.Addr(); have.Network() == at.Network() && have.String() == at.String() {
			return so
		}
	}
	return nil
}

// Listeners returns the network and address of each listener, as given to Listen, in order.
func (s *Set) Listeners() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sockets))
}

// Counts returns the present counts.
func (s *Set) Counts() Counts {
	n := Counts{Adopted: s.adopted.Load(), Moved: s.moved.Load(), Lost: s.lost.Load(),
		CutOff: s.cutOff.Load(), Part: s.partial.Load(), Junk: s.junk.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.count(&n)
	}
	return n
}

// all returns the connections.
func (s *Set) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

func (s *Set) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Set) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// drained returns a channel that is closed when no connection is left.
func (s *Set) drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == 0 {
		return closedChan
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	return s.empty
}

func (s *Set) forget(so *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets[so.key] == so {
		delete(s.sockets, so.key)
	}
}
