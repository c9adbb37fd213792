package listener

import (
	"errors"
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
	cond        sync.Cond  // open, closed, starving or queue has changed
	queue       []*conn
	resting     *dormant.Rest[*conn] // nil before the first
	open        bool                 // accepts from outside
	ending      bool                 // accepts nothing any more, but is not closed yet
	closed      bool
	bound       bool // does not listen yet, see Set.beside
	interrupted bool // the deadline of ln is over, to end a blocked accept
	starving    bool // nothing can be accepted for want of descriptors, see accept
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
	c := &conn{Conn: nc, set: so.set, sock: so, age: age{end: endOfAge(so.set.cfg.MaxAge, 0)}}
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
		// For want of descriptors some can't be woken. Accept would wait for them, and the server for Accept.
		so.resting.Abandon()
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

// restTick is the time between two groups of connections that rest, see dormant.Rest.
var restTick = 5 * time.Millisecond

// rest keeps a connection that was adopted between two requests. It reports false when so is closed.
func (so *socket) rest(c *conn) bool {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		return false
	}
	so.set.add(c)
	if so.resting.Empty() {
		so.resting = dormant.Begin[*conn](home{so}, restTick)
	}
	c.adopted.place = so.resting.Add(c, c.Conn.(syscall.Conn), !so.ending)
	return true
}

// home is where connections rest: the socket that they came through.
type home struct{ *socket }

func (h home) Lock()   { h.mu.Lock() }
func (h home) Unlock() { h.mu.Unlock() }

// GoesOn implements dormant.Home: Leave may have another process take what rests.
func (h home) GoesOn() bool {
	d := h.set.leaving.Load()
	return d != nil && !d.isOver()
}

// Wake implements dormant.Home: it makes Accept return c.
func (h home) Wake(c *conn) dormant.Outcome {
	switch err := c.wake(); {
	case err == nil:
		h.offerQueued(c)
	case scarce(err):
		go h.set.starved(h.key, err) // the program's function may close the socket
		return dormant.Scarce
	case errors.Is(err, dormant.ErrBusy):
		return dormant.Later
	case errors.Is(err, errClaimed):
		return dormant.Stays
	default: // it is closed, or its client has gone
		h.set.remove(c)
		h.cond.Broadcast()
	}
	return dormant.Over
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
			c.adopted.at = time.Now() // the client has sent a request: a deadline in the past would leave it unread
		}
		c.adopted.awake.Store(true)
	case !scarce(err) && !errors.Is(err, dormant.ErrBusy):
		c.closed = true
		_ = c.Conn.Close()
		c.wipeTaken()
	}
	return err
}

// leaveRest makes a connection that stays here rest no more: a server gets it, or it is closed.
func (c *conn) leaveRest(served bool) {
	if !c.adopted.dormant {
		return
	}
	so := c.sock
	so.mu.Lock()
	defer so.mu.Unlock()
	if served {
		so.resting.Wake(c, c.adopted.place)
	} else {
		so.resting.Remove(c, c.adopted.place)
		so.cond.Broadcast() // it may have been the last one
	}
}

// settleRest is called when so accepts nothing more. Where another process takes what rests, that goes on without
// a server, and Accept waits for it; see drainUnmet. The caller holds mu.
func (so *socket) settleRest() {
	if !(home{so}).GoesOn() || !so.tracked.Load() {
		so.resting.WakeAll()
	}
}
