package listener

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// spreadGoAway tells the HTTP/2 connections to leave, or to hurry, within half the grace. It tells
// at most a thousand a second, because their clients connect again. Those that may move have half
// the grace for that before.
func (d *drainer) spreadGoAway(conns []*conn, tell func(f *h2drain.Conn, grace time.Duration)) {
	led := slices.DeleteFunc(slices.Clone(conns), func(c *conn) bool { return c.http2.by.Load() == nil })
	grace := time.Duration(d.grace.Load())
	gap := min(time.Millisecond, grace/time.Duration(2*max(1, len(led))))
	for i, c := range led {
		at := time.Duration(i) * gap
		if !d.hurried.Load() && d.canMoveHTTP2(c) {
			at += grace / 2
		}
		f := c.http2.by.Load()
		time.AfterFunc(at, func() { tell(f, grace) }) // apart, since it waits where a buffer is full
	}
}

func closeForeigns(conns []*conn) {
	for _, c := range conns {
		if c.foreign {
			c.closeForeign()
		}
	}
}

// canHandOver tells whether c will be handed over once it is at rest, as far as that is known.
func (d *drainer) canHandOver(c *conn) bool {
	return !d.isOver() && c.goesAlong()
}

// goesAlong is canHandOver where another process takes connections.
func (c *conn) goesAlong() bool { return c.protocol().movable() && c.wanted() }

// wanted tells whether a process that takes connections would take c's.
func (c *conn) wanted() bool { return !c.move.declined.Load() && isStreamSocket(c.Conn) }

// canMoveHTTP2 tells whether c, which speaks HTTP/2, may go to another process as soon as it is at
// rest. Under TLS the keys go along. A handler that has hijacked c may have state.
func (d *drainer) canMoveHTTP2(c *conn) bool {
	return !d.isOver() && c.http2.moves.Load() && !c.wrapper.seen.Load() && c.sock != nil &&
		!c.is(http.StateHijacked) && (c.seal == nil || !c.set.keepTLS.Load() && !c.set.keepHTTP2.Load()) && c.wanted()
}

// closeIfIdle closes c if its grace is over and nothing is unread. Otherwise it sets the read
// deadline to when that may be. A client that has begun a request, or a record of TLS, has one
// grace to finish it. One that begins again and again has two graces in all.
func (d *drainer) closeIfIdle(c *conn, rest bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := now()
	// A client that still receives the last answer does not rest: the end would come just behind
	// that answer, when the next request may be on its way. A client that does not read on is given
	// up.
	if n := sockopt.Unsent(c.Conn); n != c.closing.unsent {
		c.closing.unsent, c.since.quiet, c.since.idle = n, now, now
	}
	wake := d.closeTime(c, rest, now)
	if now >= wake {
		if sockopt.Unread(c.Conn) > 0 {
			_ = c.setReadDeadlineLocked(c.deadlines.user)
			return false
		}
		if !rest {
			c.closing.inHead.Store(true)
		}
		// Net/http would answer to half a line that it is malformed. A wrapper that has read ahead
		// may have half a line.
		if !rest || c.wrapper.seen.Load() && c.speaks.Load() == plain {
			_ = c.CloseWrite()
		}
		return true
	}
	at := time.Now().Add(wake - now)
	if !c.deadlines.user.IsZero() && c.deadlines.user.Before(at) {
		at = c.deadlines.user
	}
	_ = c.setReadDeadlineLocked(at)
	return false
}

// closeTime tells when c is to be closed. The caller holds c.mu.
func (d *drainer) closeTime(c *conn, rest bool, now instant) instant {
	grace := time.Duration(d.grace.Load())
	from := max(c.since.idle, instant(d.from.Load()))
	if c.closing.notBefore == 0 {
		c.closing.notBefore = now + grace/2 + rand.N(grace/2+1)
	}
	// A client that uses its connection more often than once in a grace does so in time.
	quiet := c.since.quiet
	if c.input.beforeLeave.Load() {
		quiet = max(quiet, instant(d.from.Load()))
	}
	wake := max(c.closing.notBefore, quiet+grace)
	if !rest {
		wake = max(from, c.since.begun) + grace
	}
	last := from + 2*grace
	if d.hurried.Load() { // there may be no time for two
		last = from + grace
	}
	return min(wake, last)
}

// release is called by the goroutine that reads c, while the server waits for a request. Rest tells
// that no part of a request has come. It returns true when c is gone.
func (d *drainer) release(c *conn, rest bool) bool {
	return c.moves(rest) && d.canHandOver(c) && d.offerUnresumed(c) || d.closeIfIdle(c, rest)
}

// moves tells whether c, which is at rest or not, is so in what the server has read, too.
func (c *conn) moves(rest bool) bool {
	return rest && (c.speaks.Load() != insealed || c.serverRead.moves)
}

// closeForeign is called when the state of a foreign connection has changed, and when the set
// leaves.
func (c *conn) closeForeign() {
	switch d := c.set.leaving.Load(); {
	case c.is(http.StateClosed), c.is(http.StateHijacked):
		c.set.remove(c)
	case d != nil && c.awaitsRequest():
		now := now()
		c.mu.Lock()
		at := d.closeTime(c, true, now)
		c.mu.Unlock()
		if now < at {
			time.AfterFunc(at-now, c.closeForeign)
		} else {
			_ = c.Conn.Close() // which the server notices
		}
	}
}
