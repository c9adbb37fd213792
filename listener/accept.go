package listener

import (
	"errors"
	"net"
	"time"
)

// Accept implements net.Listener.
func (so *socket) Accept() (net.Conn, error) {
	so.holding.Store(nil)
	if !so.acceptCalled.Load() {
		so.acceptCalled.Store(true)
	}
	c, err := so.accept()
	if err != nil {
		return nil, err
	}
	so.holding.Store(c)
	return c.netConn(), nil
}

func (so *socket) accept() (*conn, error) {
	for {
		so.mu.Lock()
		for len(so.queue) == 0 && (so.closed && !so.resting.Empty() ||
			!so.closed && (!so.open || so.ending || so.starving)) {
			so.cond.Wait()
		}
		if len(so.queue) > 0 {
			c := so.dequeue()
			so.mu.Unlock()
			if c.released.Load() { // see drainUnmet
				continue
			}
			return c, nil
		}
		if so.closed {
			so.mu.Unlock()
			so.awaitMet()
			return nil, &net.OpError{Op: "accept", Net: so.Addr().Network(), Addr: so.Addr(), Err: net.ErrClosed}
		}
		if err := so.listen(); err != nil {
			so.mu.Unlock()
			return nil, err
		}
		if so.interrupted {
			so.interrupted = false
			_ = so.ln.SetDeadline(time.Time{})
		}
		so.accepting++
		so.mu.Unlock()
		nc, err := so.ln.Accept()
		var c *conn
		if err == nil {
			c = so.newConn(nc) // before left: a connection must be known to the set when no Accept is inside
		}
		so.acceptReturned()
		switch {
		case err == nil:
			return c, nil
		case isTimeout(err) || errors.Is(err, net.ErrClosed):
			// Something is in the queue, or Close has been called: the top of the loop knows.
		case scarce(err): // the client stays in the queue
			so.set.starved(so.key, err)
			so.starve(true)
			time.AfterFunc(starvePause, func() { so.starve(false) })
		default:
			return nil, err
		}
	}
}

// starvePause is how long Accept waits before it tries again without descriptors. A server to which it said so would
// log each try, and wait for up to a second, also where what comes next needs none.
const starvePause = 10 * time.Millisecond

func (so *socket) starve(starving bool) {
	so.mu.Lock()
	defer so.mu.Unlock()
	so.starving = starving
	so.cond.Broadcast()
}
