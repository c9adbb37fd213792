package listener

import (
	"net/http"
	"os"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// readBehind is a read behind a handler's back: net/http reads a single byte while a handler runs, to notice a client
// that goes away. It ends that read when the handler returns. Most handlers return long before a client goes. So the
// read is held back for one or two ticks of the set's clock: to end it then takes no system call, and no timer. A
// client that goes away is noticed that much later.
//
// While leaving, the byte stays in the kernel. Net/http would otherwise hold the beginning of the next request: a
// client without think time would keep its connection, and this process, busy.
func (c *conn) readBehind(p []byte) (int, error) {
	if c.hold(); c.deadlines.aborted() {
		return 0, os.ErrDeadlineExceeded
	}
	if d := c.set.leaving.Load(); d != nil && d.canHandOver(c) {
		return sockopt.AwaitEnd(c.Conn, p)
	}
	return c.Conn.Read(p)
}

// isBehind tells whether a read that offers that many bytes is behind a handler's back: net/http has cleared the
// deadline just before.
func (c *conn) isBehind(offered int) bool {
	return offered == 1 && c.deadlines.none() && c.is(http.StateActive)
}

// hold waits until the read is to begin, or has been ended.
func (c *conn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadlines.aborted() || c.closed {
		return
	}
	b := &c.behind
	b.over.L = &c.mu
	b.held, b.ticked = true, false
	if !b.listed {
		b.listed, b.tells.value = true, c
		c.set.clock.await(&b.tells)
	}
	for b.held {
		b.over.Wait()
	}
}

// ticks is told that the clock has, and tells whether it wants the next tick.
func (c *conn) ticks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &c.behind
	if b.listed = b.held && !b.ticked; b.listed {
		b.ticked = true
	} else {
		c.unholdLocked()
	}
	return b.listed
}
