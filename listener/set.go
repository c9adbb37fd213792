// Package listener opens or inherits the sockets of a service, knows the state of every connection
// on them, and lets go of both without losing a request.
//
// A [Set] is the sockets of one process. While the process lives, a Set is a plain net.Listener
// factory with counts. When the process is to be replaced or stopped, [Set.Leave] stops accepting.
// Then it lets each connection go when no request can be under way on it. Connections at rest, of
// HTTP/1.1 and HTTP/2, go open to another process that calls [Set.Adopt]. The others are closed after a
// grace, each when nothing is left unread in it.
//
// When the last process that holds a listening socket leaves, it serves the clients in the kernel's
// queue. Not promised: an answer to a client that connects at that very moment. On Linux it is
// served or refused; elsewhere it can be reset.
package listener

import (
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/dgram"
)

// Set is the sockets and connections of one process. Its methods may be called from any goroutine.
type Set struct {
	cfg          Config
	tracked      trackedServers
	forceClosing atomic.Bool                   // Close was called
	shuts        sync.Mutex                    // held while the doors are closed
	shutOnce     sync.Once                     // closes isShut
	isShut       chan struct{}                 // closed when the doors are closed
	adopting     sync.WaitGroup                // connections are taken in; begun under mu, and not when closed
	leaving      atomic.Pointer[drainer]       // nil until Leave
	keepTLS      atomic.Bool                   // KeepTLS was called
	keepHTTP2    atomic.Bool                   // KeepHTTP2OverTLS was called
	mayPark      atomic.Bool                   // Park may be called
	parked       atomic.Pointer[chan struct{}] // closed by Unpark; nil: Park has not been called
	hurried      atomic.Pointer[time.Duration] // the least that Hurry was called with; nil until then

	starvation starvation

	adopted, moved, aged        atomic.Int64
	lost, cutOff, partial, junk atomic.Int64 // see Counts
	finished                    atomic.Int64
	requests, aside             atomic.Int64

	clock coarse

	mu        sync.Mutex // guards what follows; the locks of sockets and connections come before it
	open      bool
	closed    bool
	sockets   map[string]*socket
	packets   map[string]*dgram.Gate
	passed    []*inheritedSocket // by a service manager, not in use yet
	stored    map[string]string  // by a service manager too: the names it has for them, by key
	store     Store              // nil: there is none
	inherits  bool               // Inherit has been called
	inherited []*inheritedFD     // by the process before this one, not in use yet
	orphans   []string           // of Orphan
	reopens   map[string]bool    // the keys of what was closed before Leave
	conns     map[*conn]struct{}
	empty     chan struct{} // closed by the removal of the last connection; nil while nobody waits
}

// New returns an empty Set.
//
// Until Open is called, the listeners accept nothing from outside: clients wait in the kernel's
// queue.
func New(cfg Config) *Set {
	return &Set{
		cfg: cfg.withDefaults(), sockets: make(map[string]*socket), packets: make(map[string]*dgram.Gate),
		reopens: make(map[string]bool), isShut: make(chan struct{}),
		stored: make(map[string]string), conns: make(map[*conn]struct{}),
	}
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

// Addresses returns network and address of each socket, packet sockets too, as the kernel has them: with the port
// that it has chosen.
func (s *Set) Addresses() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(at net.Addr) { all = append(all, at.Network()+" "+at.String()) }
	for _, so := range s.sockets {
		add(so.Addr())
	}
	for _, g := range s.packets {
		add(g.Socket().LocalAddr())
	}
	slices.Sort(all)
	return all
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

// starved tells of a client that can't be accepted, at most once in starveAgain.
func (s *Set) starved(listener string, err error) {
	if s.starvation.due() {
		s.cfg.OnStarved(listener, err)
	}
}

// gates returns the gates of the packet sockets, by the keys of these.
func (s *Set) gates() map[string]*dgram.Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.packets)
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
