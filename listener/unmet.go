package listener

import (
	"net"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// expectTracked is told that a tracked server serves ln, and marks the socket of this set below it.
// HTTP2 is nil unless the server can go on with HTTP/2 where another process has stopped.
func (s *Set) expectTracked(ln net.Listener, http2 *http2Limits) {
	if ln == nil || ln.Addr() == nil {
		return
	}
	if so := s.below(ln); so != nil {
		so.tracked.Store(true)
		so.http2.Store(http2)
	}
}

// drainUnmet lets go of c, which has no reader, as long as it is unmet.
func (d *drainer) drainUnmet(c *conn) {
	if !c.unmet() || c.isClosed() || d.letGo(c) {
		return
	}
	c.leaveRest(true) // it stays here
	c.mu.Lock()
	wake := d.closeTime(c, false, now())
	c.mu.Unlock()
	const often = 10 * time.Millisecond
	again := max(wake-now(), time.Duration(d.grace.Load())/4, often)
	time.AfterFunc(again, func() { d.drainUnmet(c) })
}

// letGo leaves c to its reader, if it has one.
func (d *drainer) letGo(c *conn) (gone bool) {
	if !c.firstReader.TryLock() {
		c.interruptRead()
		return false
	}
	defer c.firstReader.Unlock()
	c.move.claimed.Store(true) // a server that gets c, or has got it, waits in Read, or is seen by what follows
	defer c.move.claimed.Store(false)
	if !c.unmet() || c.isHandingOver() || c.isClosed() {
		return false
	}
	rest := c.protocol().atRest(0, false)
	// Only Linux tells what lies unread.
	gone = rest && d.canHandOver(c) && d.offerUnresumed(c) || sockopt.SeesQueues && d.closeIfIdle(c, rest)
	if gone {
		c.closeUnmet()
	}
	return gone
}

// closeUnmet closes c for a wrapper that may never do so.
func (c *conn) closeUnmet() {
	c.released.Store(true)
	_ = c.close(false)
}

// awaitMet waits, while the set leaves, until a server has each connection that came through so. A
// mux closes those that it has when its listener says that it is closed. The wait is one grace at
// most.
func (so *socket) awaitMet() {
	d := so.set.leaving.Load()
	if d == nil || !so.tracked.Load() {
		return
	}
	var some []*conn
	for _, c := range so.set.all() {
		if c.sock == so && c.awaited() {
			some = append(some, c)
		}
	}
	const often = 5 * time.Millisecond
	for _, c := range some {
		for c.awaited() && !so.set.forceClosing.Load() && int64(now()) < d.from.Load()+d.grace.Load() {
			time.Sleep(often)
		}
	}
}
