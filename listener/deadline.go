package listener

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// due tells whether a read that timed out did so by the user's own deadline. Otherwise it was a
// departure that wanted the reader's attention, and the user's deadline is put back.
func (c *conn) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return true
	}
	_ = c.force(c.deadline)
	return false
}

// rouse makes a blocked Read look at the departure.
func (c *conn) rouse() {
	if c.shaded { // nobody reads through it
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.force(quirks.LongAgo)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.answers(t) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadlines++
	c.arm(t)
	if c.guest.Load() {
		return nil // the first wait of an adopted connection is an idle one, whatever the server thinks
	}
	if !c.woke.IsZero() {
		if c.whole > 0 && !t.IsZero() && c.is(http.StateNew) {
			t = c.woke.Add(c.whole) // net/http counts ReadTimeout from when it got the connection
		}
		c.woke = time.Time{}
	}
	c.deadline = t
	return c.force(t)
}

// arm is told of a read deadline. Net/http clears it before a read behind a handler's back, and
// ends that by one that is long over. What a wrapper's Read sets comes between: it is neither.
func (c *conn) arm(t time.Time) {
	clear, abort := t.IsZero(), t.Equal(quirks.LongAgo)
	if c.covered.Load() && !clear && !abort {
		return
	}
	if c.armed.Load() != clear {
		c.armed.Store(clear)
	}
	if c.aborted.Load() != abort {
		c.aborted.Store(abort)
	}
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// knocks are the deadlines that look for a connection of ours, and where the one that was given such a deadline goes.
var (
	knocks  sync.Map // of int64, the deadline in Unix nanoseconds, and *atomic.Pointer[conn]
	knocked atomic.Int64
)

// knockTime is the first of those deadlines. Nobody means it: it is in the year 2200.
var knockTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func knock(nc net.Conn) *conn {
	t := knockTime.Add(time.Duration(knocked.Add(1)))
	var found atomic.Pointer[conn]
	knocks.Store(t.UnixNano(), &found)
	defer knocks.Delete(t.UnixNano())
	_ = nc.SetReadDeadline(t)
	_ = nc.SetReadDeadline(time.Time{}) // wrappers may have kept the other; net/http sets its own next
	return found.Load()
}

// answers tells whether t was no deadline but a knock, which c answers.
func (c *conn) answers(t time.Time) bool {
	if t.Before(knockTime) {
		return false
	}
	found, ok := knocks.Load(t.UnixNano())
	if ok {
		found.(*atomic.Pointer[conn]).Store(c)
	}
	return ok
}
