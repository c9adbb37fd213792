// Package listener opens or inherits the sockets of a service, knows the state of every connection
// on them, and lets go of both without losing a request.
//
// A [Set] is the sockets of one process. While the process lives, a Set is a plain net.Listener
// factory with counts. When the process is to be replaced or stopped, [Set.Leave] stops accepting
// and then lets each connection go when no request can be under way on it: connections at
// rest, of HTTP/1.1 and HTTP/2, go, open, to another process that calls [Set.Adopt]; the others are closed
// after a grace, each when nothing is left unread in it.
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

	"github.com/cloudflare/tableflip"

	"github.com/baton-go/baton/listener/internal/dgram"
)

// Set is the sockets and connections of one process. Its methods may be called from any goroutine.
type Set struct {
	fds          Fds // nil: nothing is inherited or passed on
	onLoss       func(Loss)
	warning      func(error) // of Warn
	lifespan     lifespan    // of MaxAge
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

	starved starvationReport

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

// Fds is what a process has inherited, and what it passes on. tableflip's Upgrader.Fds is one.
// Listener and PacketConn return nil where nothing of that name was inherited; what is added is
// copied.
type Fds interface {
	Listener(network, address string) (net.Listener, error)
	PacketConn(network, address string) (net.PacketConn, error)
	AddListener(network, address string, ln tableflip.Listener) error
	AddPacketConn(network, address string, conn tableflip.PacketConn) error
}

// New returns an empty Set. Its sockets are inherited and passed on through fds; nil means that
// this process neither inherits nor passes on. onLoss, when not nil, is called once for each entry
// in the loss ledger, on the goroutine that closes the connection.
//
// Until Open is called, the listeners accept nothing from outside: clients wait in the kernel's
// queue.
func New(fds Fds, onLoss func(Loss)) *Set {
	if onLoss == nil {
		onLoss = func(Loss) {}
	}
	return &Set{
		fds: fds, onLoss: onLoss, warning: func(error) {},
		sockets: make(map[string]*socket), packets: make(map[string]*dgram.Gate),
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

// Warn makes the set call f with what it can't do for a server that was given to Track, as soon as
// that is known: its HTTP/2 connections end as net/http ends them. It must be called before Track.
// It also tells of a unix socket whose file is gone, see Listen. The error names the cure.
func (s *Set) Warn(f func(error)) { s.warning = f }

// MaxAge makes connections of tracked and of followed servers end at an age, so that clients that
// never disconnect come to the other nodes behind a balancer, too. The first answer from then on says
// that it is the last: "Connection: close" in HTTP/1, and over HTTP/2 the GOAWAY that Leave sends, whose
// streams end in their time. Nothing is cut, and no timer runs: a connection at rest stays until its
// next answer. An answer that has begun stays as it is, and so does one behind which the client has sent
// more: then the next one says so. In TLS that is seen by ServeTLS alone, and not of each record.
//
// The age counts from Accept, for each connection with its own jitter of ±10 %, as in
// google.golang.org/grpc/keepalive, ServerParameters.MaxConnectionAge: clients that have come at once
// do not come back at once. It goes on where both processes of a handover have one; otherwise it
// begins with the adoption. Not told are hijacked connections, requests for an upgrade, and HTTP/2
// of which Warn has told. 0, the default, means for ever.
//
// MaxAge must be called before Listen.
func (s *Set) MaxAge(age time.Duration) { s.lifespan = lifespan(age) }

// gates returns the gates of the packet sockets, by the keys of these.
func (s *Set) gates() map[string]*dgram.Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.packets)
}

// OnStarved makes the set call f when this process can't take a client that has connected, for want
// of descriptors or of memory in the kernel: the client stays in the kernel's queue, and Accept
// waits until it can be taken, here or by another process. Listener is network and address, as given
// to Listen. F is called at most once a minute, on the goroutine that accepts.
func (s *Set) OnStarved(f func(listener string, err error)) { s.starved.tell.Store(&f) }

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
