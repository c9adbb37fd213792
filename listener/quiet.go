package listener

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// farewell tells the HTTP/2 connections to leave, or to hurry, within half the grace, but no more
// than a thousand a second: their clients connect again.
func (d *departure) farewell(conns []*conn, tell func(f *h2drain.Conn, grace time.Duration)) {
	led := make([]*h2drain.Conn, 0, len(conns))
	for _, c := range conns {
		if f := c.led.Load(); f != nil {
			led = append(led, f)
		}
	}
	grace := time.Duration(d.grace.Load())
	gap := min(time.Millisecond, grace/time.Duration(2*max(1, len(led))))
	for i, f := range led {
		time.AfterFunc(time.Duration(i)*gap, func() { tell(f, grace) })
	}
}

func turnAll(conns []*conn) {
	for _, c := range conns {
		if c.shaded {
			c.turn()
		}
	}
}

// moves tells whether c will be handed over once it is at rest, as far as one can know.
func (d *departure) moves(c *conn) bool {
	return !d.isOver() && c.protocol().movable() && !c.refused.Load() && movable(c.Conn)
}

// retire closes c if it has had its grace and nothing is unread, or sets it the time for that. A
// client that has begun a request, or a record of TLS, has one grace to finish it; one that begins
// again and again has two in all.
func (d *departure) retire(c *conn, rest bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	// A client that still receives the last answer does not rest: the end of the connection would come just behind
	// that, when the next request may be on its way. One that does not read on is given up as others are.
	if n := sockopt.Unsent(c.Conn); n != c.queued {
		c.queued, c.rested, c.since = n, now, now
	}
	wake := d.closes(c, rest, now)
	if !now.Before(wake) {
		if sockopt.Unread(c.Conn) > 0 {
			return false
		}
		if !rest {
			c.half.Store(true)
		}
		// Net/http would answer to half a line that it is malformed. A wrapper that has read ahead
		// may have half a line.
		if !rest || c.wrapped.Load() && c.speaks.Load() == plain {
			_ = c.CloseWrite()
		}
		return true
	}
	if !c.deadline.IsZero() && c.deadline.Before(wake) {
		wake = c.deadline
	}
	_ = c.force(wake)
	return false
}

// closes tells when c is to be closed. The caller holds c.mu.
func (d *departure) closes(c *conn, rest bool, now time.Time) time.Time {
	from, grace := time.Unix(0, d.from.Load()), time.Duration(d.grace.Load())
	if c.since.After(from) {
		from = c.since
	}
	if c.closeAt.IsZero() {
		c.closeAt = now.Add(grace/2 + rand.N(grace/2+1))
	}
	wake := c.closeAt
	switch whole := c.rested.Add(grace); {
	case !rest:
		if wake = from.Add(grace); c.begun.After(from) {
			wake = c.begun.Add(grace)
		}
	case whole.After(wake):
		wake = whole // a client that uses its connection more often than that does so in time
	}
	last := from.Add(2 * grace)
	if d.rush.Load() { // there may be no time for two
		last = from.Add(grace)
	}
	if wake.After(last) {
		return last
	}
	return wake
}

// release is called by the goroutine that reads c while the server waits for a request; rest is
// whether nothing of one is here. True means that c is gone.
func (d *departure) release(c *conn, rest bool) bool {
	return rest && d.moves(c) && d.offer(c) || d.retire(c, rest)
}

// turn is called when the state of one that is shaded has changed, and when the set leaves.
func (c *conn) turn() {
	switch d := c.set.leaving.Load(); {
	case c.is(http.StateClosed), c.is(http.StateHijacked):
		c.set.remove(c)
	case d != nil && c.waits():
		now := time.Now()
		c.mu.Lock()
		at := d.closes(c, true, now)
		c.mu.Unlock()
		if now.Before(at) {
			time.AfterFunc(at.Sub(now), c.turn)
		} else {
			_ = c.Conn.Close() // which the server notices
		}
	}
}
