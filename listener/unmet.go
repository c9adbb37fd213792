package listener

import (
	"net"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// expect is told that a tracked server serves ln, and marks the socket of ours that is below it.
func (s *Set) expect(ln net.Listener) {
	if ln == nil || ln.Addr() == nil {
		return
	}
	if so := s.below(ln); so != nil {
		so.tracked.Store(true)
	}
}

// attend lets go of c, which nobody reads from, as long as it is unmet.
func (d *departure) attend(c *conn) {
	if !c.unmet() || c.isClosed() || d.letGo(c) {
		return
	}
	c.mu.Lock()
	wake := d.closes(c, false, time.Now())
	c.mu.Unlock()
	const often = 10 * time.Millisecond
	again := max(time.Until(wake), time.Duration(d.grace.Load())/4, often)
	time.AfterFunc(again, func() { d.attend(c) })
}

// letGo leaves c to its reader, if it has one.
func (d *departure) letGo(c *conn) (gone bool) {
	if !c.first.TryLock() {
		c.rouse()
		return false
	}
	defer c.first.Unlock()
	c.claimed.Store(true) // who gets c, or has got it, waits in Read, or is seen by what follows
	defer c.claimed.Store(false)
	if !c.unmet() || c.isPacked() {
		return false
	}
	rest := c.protocol().atRest(0, false)
	// Only Linux tells what lies unread.
	gone = rest && d.moves(c) && d.offer(c) || sockopt.SeesQueues && d.retire(c, rest)
	if gone {
		c.leaveUnmet()
	}
	return gone
}

// leaveUnmet closes c for a wrapper that may not, and has never said that it would be served.
func (c *conn) leaveUnmet() {
	c.ended.Store(true)
	_ = c.close(false)
}

// awaitMet waits, while the set leaves, until everybody has been met who came through so: a mux
// closes those that it has when its listener says that it is closed. It waits for one grace.
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
		for c.awaited() && !so.set.cutting.Load() && time.Now().UnixNano() < d.from.Load()+d.grace.Load() {
			time.Sleep(often)
		}
	}
}
