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

// socket is a listening socket whose Accept also returns connections that did not come in through it: adopted ones and
// those of Dial. A connection that was accepted is always returned, also after Close.
type socket struct {
	set  *Set
	key  string
	ln   sockopt.Listener // closed by Close
	path string           // the file that this process has made; "" for none

	tracked atomic.Bool          // a server that was given to Track accepts here, perhaps through a wrapper
	holding atomic.Pointer[conn] // what Accept has returned, until it is called again

	asked atomic.Bool // Accept has been called
	dying atomic.Bool // no other process holds ln when it is closed
	half  *os.File    // of a sweep: a connection that is out of the queue, and not in ours yet

	mu     sync.Mutex // guards what follows
	cond   sync.Cond  // open, closed or queue has changed
	queue  []*conn
	open   bool // accepts from outside
	ending bool // accepts nothing any more, but is not closed yet
	closed bool
	bound  bool // does not listen yet, see Set.beside
	roused bool // the deadline of ln is over, to end a blocked accept
	inside int  // how many are in ln.Accept; one of them would keep a closed socket alive
}

func newSocket(set *Set, key string, ln sockopt.Listener, open bool) *socket {
	so := &socket{set: set, key: key, ln: ln, open: open}
	so.cond.L = &so.mu
	return so
}

func (so *socket) Addr() net.Addr                        { return so.ln.Addr() }
func (so *socket) SyscallConn() (syscall.RawConn, error) { return so.ln.SyscallConn() }
func (so *socket) wrap(nc net.Conn) *conn {
	c := &conn{Conn: nc, set: so.set, sock: so}
	so.set.add(c)
	return c
}
func (so *socket) next() (c *conn) { c, so.queue = so.queue[0], so.queue[1:]; return c }
func isTimeout(err error) bool     { return errors.Is(err, os.ErrDeadlineExceeded) }

// Accept implements net.Listener.
func (so *socket) Accept() (net.Conn, error) {
	so.holding.Store(nil)
	if !so.asked.Load() {
		so.asked.Store(true)
	}
	c, err := so.accept()
	if err != nil {
		return nil, err
	}
	so.holding.Store(c)
	return c.face(), nil
}

func (so *socket) accept() (*conn, error) {
	for {
		so.mu.Lock()
		for len(so.queue) == 0 && !so.closed && (!so.open || so.ending) {
			so.cond.Wait()
		}
		if len(so.queue) > 0 {
			c := so.next()
			so.mu.Unlock()
			if c.ended.Load() { // see departure.attend
				continue
			}
			return c, nil
		}
		if so.closed {
			so.mu.Unlock()
			so.awaitMet()
			return nil, &net.OpError{Op: "accept", Net: so.Addr().Network(), Addr: so.Addr(), Err: net.ErrClosed}
		}
		if err := so.begin(); err != nil {
			so.mu.Unlock()
			return nil, err
		}
		if so.roused {
			so.roused = false
			_ = so.ln.SetDeadline(time.Time{})
		}
		so.inside++
		so.mu.Unlock()
		nc, err := so.ln.Accept()
		var c *conn
		if err == nil {
			c = so.wrap(nc) // before left: a connection must be known to the set when nobody is inside
		}
		so.left()
		switch {
		case err == nil:
			return c, nil
		case isTimeout(err) || errors.Is(err, net.ErrClosed):
			// Something is in the queue, or Close has been called: the top of the loop knows.
		default:
			if scarce(err) { // the client stays in the queue
				so.set.starve(so.key, err)
			}
			return nil, err
		}
	}
}

func (so *socket) left() {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.inside--
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
	so.rouse()
	return true
}

func (so *socket) admit() {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.open = true
	_ = so.begin() // Accept tries again, and reports
	so.cond.Broadcast()
}

func (so *socket) rouse() {
	if !so.roused {
		so.roused = true
		_ = so.ln.SetDeadline(time.Unix(1, 0))
	}
	so.cond.Broadcast()
}

// Close stops accepting. Where other processes hold the socket too, its queue in the kernel is theirs.
func (so *socket) Close() error { return so.close() }

// close without another word: a client that has connected and is not accepted is lost, unless
// another process holds the socket.
func (so *socket) close() error {
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		return nil
	}
	so.closed = true
	so.cond.Broadcast()
	so.set.forget(so)
	if so.path != "" && !so.open { // a generation that fails; in others tableflip removes it, after the last one
		_ = os.Remove(so.path)
	}
	sockopt.AllowHandshakes(so.ln) // others may hold the socket, a service manager or another generation
	return so.ln.Close()
}

// spare is how many descriptors a sweep leaves free where another process holds the socket, too: handlers need some.
const spare = 16

// sweep takes what clients have connected already out of the kernel's queue, which may die with the
// socket. Nothing is accepted any more. It reports whether some are left for want of descriptors.
// Where another process holds the socket they are its own; where none does, they wait until it is
// called again: others end, and give theirs back.
func (so *socket) sweep() (left bool) {
	so.mu.Lock()
	if so.closed || !so.open {
		so.mu.Unlock()
		return false
	}
	first := !so.ending
	so.ending = true
	so.rouse()
	for so.inside > 0 {
		so.cond.Wait()
	}
	so.mu.Unlock()
	dying := so.dying.Load()
	if dying && first {
		sockopt.RefuseClients(so.ln)
	}
	now, most := sockopt.QueueLen(so.ln)
	release := func() {}
	if dying {
		now = most // those whose handshake is under way, too; nobody new comes
	} else {
		var ok bool
		release, ok = sockopt.ReserveFDs(so.ln, spare)
		defer func() { release() }()
		if !ok {
			so.set.starve(so.key, syscall.EMFILE)
			return false
		}
	}
	err := so.finish()
	if err == nil {
		err = sockopt.AcceptQueued(so.ln, now, func(f *os.File) bool {
			so.half = f
			err := so.finish()
			if scarce(err) && !dying {
				release()
				release = func() {}
				err = so.finish()
			}
			return err == nil
		})
	}
	if so.half != nil {
		err = syscall.EMFILE
	}
	if scarce(err) {
		so.set.starve(so.key, err)
	}
	return dying && scarce(err)
}

// finish makes Accept return the connection that a sweep has taken out of the queue, which takes
// one more descriptor for a moment. An error means that there is none; it is to be called again.
func (so *socket) finish() error {
	if so.half == nil {
		return nil
	}
	nc, err := net.FileConn(so.half)
	if scarce(err) {
		return err
	}
	_ = so.half.Close()
	so.half = nil
	if err != nil { // its client is gone
		return nil
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		_ = nc.Close()
		return nil
	}
	so.queue = append(so.queue, so.wrap(nc))
	so.cond.Broadcast()
	return nil
}
