package listener

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/dormant"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// socket is a listening socket whose Accept also returns connections that did not come in through
// it: adopted ones and those of Dial. A connection that was accepted is always returned, also after
// Close.
type socket struct {
	set  *Set
	key  string
	ln   sockopt.Listener // closed by Close
	made bool             // opened here, not inherited or passed
	path string           // the file that this process has made; "" for none

	forget func(*socket) // called by Close, with mu held; see Set.hold

	tracked atomic.Bool                  // a server that was given to Track accepts here, perhaps through a wrapper
	secured atomic.Pointer[secureServer] // that serves it, and takes connections over TLS
	http2   atomic.Pointer[http2Limits]  // of that server; nil: it can't go on from another process
	holding atomic.Pointer[conn]         // what Accept has returned, until it is called again

	keepAlive       time.Duration // as in net.ListenConfig
	keepAliveConfig net.KeepAliveConfig
	shares          bool // SO_REUSEPORT is the program's wish

	acceptCalled atomic.Bool // Accept has been called
	lastHolder   atomic.Bool // no other process holds ln when it is closed
	acceptedFile *os.File    // of a sweep: a connection that is out of the queue, and not in ours yet

	mu          sync.Mutex // guards what follows
	cond        sync.Cond  // open, closed or queue has changed
	queue       []*conn
	resting     *restingConns // nil while no connection rests
	open        bool          // accepts from outside
	ending      bool          // accepts nothing any more, but is not closed yet
	closed      bool
	bound       bool // does not listen yet, see Set.beside
	interrupted bool // the deadline of ln is over, to end a blocked accept
	accepting   int  // how many are in ln.Accept; one of them would keep a closed socket alive
}

func newSocket(set *Set, key string, ln sockopt.Listener, open bool) *socket {
	so := &socket{set: set, key: key, ln: ln, open: open}
	so.cond.L = &so.mu
	return so
}

func (so *socket) Addr() net.Addr                        { return so.ln.Addr() }
func (so *socket) SyscallConn() (syscall.RawConn, error) { return so.ln.SyscallConn() }
func (so *socket) newConn(nc net.Conn) *conn {
	if tc, ok := nc.(*net.TCPConn); ok {
		so.setKeepAlive(tc)
	}
	c := &conn{Conn: nc, set: so.set, sock: so, age: age{end: so.set.lifespan.end(0)}}
	so.set.add(c)
	return c
}
func (so *socket) dequeue() (c *conn) { c, so.queue = so.queue[0], so.queue[1:]; return c }

// setKeepAlive does what package net does for a socket that it has opened itself, with that ListenConfig.
func (so *socket) setKeepAlive(tc *net.TCPConn) {
	switch {
	case so.keepAliveConfig.Enable:
		_ = tc.SetKeepAliveConfig(so.keepAliveConfig)
	case so.keepAlive < 0:
		_ = tc.SetKeepAlive(false)
	case so.keepAlive > 0:
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: so.keepAlive})
	}
}

func (so *socket) acceptReturned() {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.accepting--
	so.cond.Broadcast()
}

// enqueue makes Accept return c, unless so is closed.
func (so *socket) enqueue(c *conn) bool {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		return false
	}
	so.set.add(c)
	so.offerQueued(c)
	return true
}

// offerQueued makes Accept return c. The caller holds mu.
func (so *socket) offerQueued(c *conn) {
	so.queue = append(so.queue, c)
	so.interruptAccept()
}

func (so *socket) admit() {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.open = true
	_ = so.listen() // Accept tries again, and reports
	so.cond.Broadcast()
}

func (so *socket) interruptAccept() {
	if !so.interrupted {
		so.interrupted = true
		_ = so.ln.SetDeadline(time.Unix(1, 0))
	}
	so.cond.Broadcast()
}

// Close stops accepting. Where other processes hold the socket too, its queue in the kernel is
// theirs.
func (so *socket) Close() error { return so.close() }

// close closes the socket without a sweep: a client that has connected and is not accepted is lost,
// unless another process holds the socket.
func (so *socket) close() error {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		return nil
	}
	so.settleRest()
	if so.set.leaving.Load() == nil {
		so.abandonRest()
	}
	so.closed = true
	so.cond.Broadcast()
	if so.forget != nil {
		so.forget(so)
	}
	if so.path != "" && !so.open { // a generation that fails; in others tableflip removes it, after the last one
		_ = os.Remove(so.path)
	}
	sockopt.AllowHandshakes(so.ln) // others may hold the socket, a service manager or another generation
	return so.ln.Close()
}

// listen makes a socket listen that is only bound. The caller holds mu.
func (so *socket) listen() error {
	if !so.bound {
		return nil
	}
	if err := sockopt.Listen(so.ln); err != nil {
		return notYet{so.key, err}
	}
	so.bound = false
	_ = sockopt.SetReusePort(so.ln, so.shares)
	return nil
}

// notYet is an error of Accept after which servers try again.
type notYet struct {
	key string
	err error
}

func (e notYet) Error() string {
	if errors.Is(e.err, syscall.EADDRINUSE) {
		return "listener: listen " + e.key + ": " + e.err.Error() + "; another process has taken the " +
			"address during the swap: stop it"
	}
	return "listener: listen " + e.key + ": " + e.err.Error()
}

func (e notYet) Unwrap() error { return e.err }

func (e notYet) Timeout() bool { return false }

func (e notYet) Temporary() bool { return true }

// An adopted connection that rests lies dormant in its socket until its client sends something, and gets to a server
// then, at once. A server has a goroutine and buffers for each, and package net has thirty system calls. To do that
// for thousands of connections in the moment of a swap would keep the active clients waiting. Most clients rest for
// longer: theirs get to the server in small groups, within restTime. In a swap before that, they go on without one.

const (
	restTime  = 5 * time.Second // from the last adoption, about
	restLeast = 16              // of a group
)

// restTick is the time between two groups.
var restTick = 5 * time.Millisecond

// restingConns are those of a socket.
type restingConns struct {
	poller  *dormant.Poller // nil: there is none, for want of a descriptor
	conns   []*conn         // by their ids at the poller; nil: it rests no more
	left    int             // how many rest
	next    int             // the ones before it rest no more
	group   int             // how many go at once
	adopted bool            // some have come since the last tick
	hasty   bool            // the poller doesn't know all of them
	tick    time.Duration
}

// rest keeps a connection that was adopted between two requests. It reports false when so is closed.
func (so *socket) rest(c *conn) bool {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		return false
	}
	so.set.add(c)
	if so.resting == nil {
		so.beginRest()
	}
	r := so.resting
	r.conns = append(r.conns, c)
	c.restsAt = len(r.conns)
	r.left++
	r.adopted = true
	if so.ending || r.poller == nil || r.poller.Add(c.Conn.(syscall.Conn), int32(c.restsAt-1)) != nil {
		r.hasty = true
		so.serveResting(c)
	}
	return true
}

func (so *socket) beginRest() {
	r := &restingConns{tick: restTick}
	so.resting = r
	p, err := dormant.NewPoller()
	if err == nil {
		r.poller = p
		go so.awaitResting(r)
	}
	time.AfterFunc(r.tick, func() { so.tickResting(r) })
}

// awaitResting passes on those whose clients have sent something.
func (so *socket) awaitResting(r *restingConns) {
	for {
		ids, err := r.poller.Wait()
		if err != nil {
			return
		}
		so.mu.Lock()
		for _, id := range ids {
			so.serveResting(r.conns[id])
		}
		so.mu.Unlock()
	}
}

// tickResting passes a group on, unless connections are coming in, or go on to another process.
func (so *socket) tickResting(r *restingConns) {
	so.mu.Lock()
	defer so.mu.Unlock()
	switch d := so.set.leaving.Load(); {
	case so.resting != r:
		return
	case r.hasty:
		r.hasty = false
		so.serveRest(math.MaxInt)
	case d != nil && !d.isOver():
	case r.adopted:
		r.adopted, r.group = false, max(restLeast, len(r.conns)/max(1, int(restTime/r.tick)))
	default:
		so.serveRest(r.group)
	}
	time.AfterFunc(r.tick, func() { so.tickResting(r) })
}

// serveRest passes on as many, the oldest first. The caller holds mu.
func (so *socket) serveRest(most int) {
	r := so.resting
	if r == nil {
		return
	}
	for i := r.next; most > 0 && i < len(r.conns); i++ {
		if c := r.conns[i]; c != nil {
			if !so.serveResting(c) {
				return
			}
			most--
		} else if i == r.next {
			r.next++
		}
	}
}

// serveResting makes Accept return c, unless c is nil. The caller holds mu. What can't be woken yet rests on:
// another process may be about to take it, or this one is out of descriptors, which is reported as false.
func (so *socket) serveResting(c *conn) (ok bool) {
	if c == nil || c.restsAt == 0 {
		return true
	}
	switch err := c.wake(); {
	case err == nil:
		so.endRest(c)
		so.offerQueued(c)
	case scarce(err):
		so.resting.hasty = true
		go so.set.starved.report(so.key, err) // the program's function may close so
		return false
	case errors.Is(err, dormant.ErrBusy):
		so.resting.hasty = true
	case !errors.Is(err, errClaimed): // it is closed, or its client has gone
		so.endRest(c)
		so.set.remove(c)
	}
	return true
}

var errClaimed = errors.New("listener: another process may be about to take it")

// wake gives c its form for a server.
func (c *conn) wake() error {
	if !c.firstReader.TryLock() {
		return errClaimed
	}
	defer c.firstReader.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	nc, err := c.Conn.(*dormant.Conn).Wake()
	switch {
	case err == nil:
		if c.Conn = nc; sockopt.Unread(nc) > 0 {
			c.adoptedAt = time.Now() // the client has sent a request: a deadline in the past would leave it unread
		}
		c.awake.Store(true)
	case !scarce(err) && !errors.Is(err, dormant.ErrBusy):
		c.closed = true
		_ = c.Conn.Close()
		c.wipeTaken()
	}
	return err
}

// endRest makes c rest no more. The caller holds mu.
func (so *socket) endRest(c *conn) {
	if c.restsAt == 0 {
		return
	}
	r := so.resting
	r.conns[c.restsAt-1], c.restsAt = nil, 0
	if r.left--; r.left == 0 {
		if r.poller != nil {
			r.poller.Close()
		}
		so.resting = nil
		so.cond.Broadcast()
	}
}

// leaveRest makes a connection that stays here rest no more: a server gets it, or it is closed.
func (c *conn) leaveRest(served bool) {
	if !c.dormant {
		return
	}
	c.sock.mu.Lock()
	defer c.sock.mu.Unlock()
	if served {
		c.sock.serveResting(c)
	} else {
		c.sock.endRest(c)
	}
}

// abandonRest closes what can't be woken for want of descriptors, where its server ends: Accept would wait for it, and
// the server for Accept. The caller holds mu.
func (so *socket) abandonRest() {
	if so.resting == nil {
		return
	}
	var left []io.Closer
	for _, c := range so.resting.conns {
		if c != nil {
			left = append(left, c)
		}
	}
	go func() {
		for _, c := range left {
			_ = c.Close()
		}
	}()
}

// settleRest is called when so accepts nothing more. Where another process takes what rests, that goes on without
// a server, and Accept waits for it; see drainUnmet. The caller holds mu.
func (so *socket) settleRest() {
	if d := so.set.leaving.Load(); d == nil || d.isOver() || !so.tracked.Load() {
		so.serveRest(math.MaxInt)
	}
}
