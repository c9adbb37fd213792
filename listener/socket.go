package listener

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	http2   atomic.Bool                  // that server goes on with HTTP/2 where another process has stopped
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
	open        bool // accepts from outside
	ending      bool // accepts nothing any more, but is not closed yet
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
	so.queue = append(so.queue, c)
	so.interruptAccept()
	return true
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
