package listener

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// userDeadlinePassed tells whether a read timed out by the user's own deadline. Otherwise a drainer
// has interrupted it, and the user's deadline is put back, unless release is about to set one, or to
// let go of the connection.
func (c *conn) userDeadlinePassed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadlines.user.Equal(quirks.LongAgo) || !c.deadlines.user.IsZero() && !time.Now().Before(c.deadlines.user) {
		return true
	}
	if c.set.leaving.Load() == nil || !c.awaitsRequest() {
		_ = c.setReadDeadlineLocked(c.deadlines.user)
	}
	return false
}

// interruptRead makes a blocked Read look at the drainer.
func (c *conn) interruptRead() {
	if c.foreign { // nobody reads through it
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.setReadDeadlineLocked(quirks.LongAgo)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.isProbe(t) {
		return nil
	}
	if t.IsZero() && c.deadlines.known.Load() == deadlineNone|deadlineSame {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadlines.calls++
	if c.adopted.idle.Load() {
		c.noteReadDeadline(t, false)
		return nil // the first wait of an adopted connection is an idle one, whatever the server thinks
	}
	if !c.deadlines.firstByteAt.IsZero() {
		if c.deadlines.readTimeout > 0 && !t.IsZero() && c.is(http.StateNew) {
			// Net/http counts ReadTimeout from when it got the connection.
			t = c.deadlines.firstByteAt.Add(c.deadlines.readTimeout)
		}
		c.deadlines.firstByteAt = time.Time{}
	}
	c.deadlines.user = t
	c.noteReadDeadline(t, t.IsZero() && c.deadlines.calls > 1)
	held := c.unholdLocked()
	if t.Equal(quirks.LongAgo) && c.is(http.StateActive) && (held || c.deadlines.reads.Load() == 0) {
		return nil // no read waits in the kernel, and none begins: the server clears this deadline next
	}
	return c.setReadDeadlineLocked(t)
}

// unholdLocked lets go of the read that hold has held, and tells whether there was one.
func (c *conn) unholdLocked() bool {
	if !c.behind.held {
		return false
	}
	c.behind.held = false
	c.behind.over.Signal()
	return true
}

// noteReadDeadline follows what net/http does: it clears the deadline before a read behind a
// handler's back, and ends that read by a deadline long over. A deadline that a wrapper's Read sets
// is neither.
func (c *conn) noteReadDeadline(t time.Time, same bool) {
	var bits uint32
	switch {
	case t.IsZero():
		bits = deadlineNone
	case t.Equal(quirks.LongAgo):
		bits = deadlineAbort
	case c.wrapper.hides.Load():
		c.deadlines.lose(deadlineSame)
		return
	}
	if same {
		bits |= deadlineSame
	}
	if c.deadlines.known.Load() != bits {
		c.deadlines.known.Store(bits)
	}
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// deadlineProbes are the deadlines by which findByDeadline looks for a connection, and where the
// one that gets such a deadline is stored.
var (
	deadlineProbes sync.Map // of int64, the deadline in Unix nanoseconds, and *atomic.Pointer[conn]
	lastProbe      atomic.Int64
)

// firstProbe is the first of those deadlines, in the year 2200. No user means it.
var firstProbe = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func findByDeadline(nc net.Conn) *conn {
	t := firstProbe.Add(time.Duration(lastProbe.Add(1)))
	var found atomic.Pointer[conn]
	deadlineProbes.Store(t.UnixNano(), &found)
	defer deadlineProbes.Delete(t.UnixNano())
	_ = nc.SetReadDeadline(t)
	_ = nc.SetReadDeadline(time.Time{}) // wrappers may have kept the other; net/http sets its own next
	return found.Load()
}

// isProbe tells whether t is a probe of findByDeadline, and answers it.
func (c *conn) isProbe(t time.Time) bool {
	if t.Before(firstProbe) {
		return false
	}
	found, ok := deadlineProbes.Load(t.UnixNano())
	if ok {
		found.(*atomic.Pointer[conn]).Store(c)
	}
	return ok
}
