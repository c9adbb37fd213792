package listener

import (
	"net"
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// A listener around a socket of ours may hold a connection before its server gets it: it reads a
// header of the PROXY protocol, shakes hands, looks whose connection it is, or waits for room. As
// long as the client has said nothing that can be a request, and nobody has answered, nothing is
// under way. Such a connection is called unmet, and is let go as if the server waited on it.
// Another server behind the same socket, that was not given to Track, has not begun with it either.

// expect is told that a tracked server serves ln, and marks the socket of ours that is below it.
func (s *Set) expect(ln net.Listener) {
	if ln == nil || ln.Addr() == nil {
		return
	}
	if so := s.below(ln); so != nil {
		so.tracked.Store(true)
	}
}

// unmet tells whether c is such a connection. One that has said junk is only where the one who accepts reads it, too:
// otherwise somebody else may understand that.
func (c *conn) unmet() bool {
	if c.state.Load() != 0 || c.sock == nil || !c.sock.tracked.Load() {
		return false
	}
	switch c.hasSaid() {
	case sniff.SaidMore:
		return false
	case sniff.SaidJunk:
		if c.sock.holding.Load() != c {
			return false
		}
	}
	return !c.spoke.Load() || c.records.Load() != nil // a handshake has two sides
}

func (c *conn) hasSaid() sniff.Said { return sniff.Said(c.greeted.Load()) }

// greet is told of what was read from c before a server got it. It returns what is behind a header
// of the PROXY protocol.
func (c *conn) greet(p []byte) {
	if c.greeting == nil {
		c.greeting = new(sniff.Greeting)
	}
	now := c.greeting.Feed(p)
	if c.greeting.Shake != nil && c.records.Load() == nil {
		c.records.Store(c.greeting.Shake)
	}
	if c.greeted.Store(int32(now)); now == sniff.SaidMore {
		c.greeting = nil
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
	rest := c.atRest(0, false)
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

// yield waits until the departure has let go of c, or not.
func (c *conn) yield() {
	c.first.Lock()
	defer c.first.Unlock()
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if !c.spoke.Load() {
		c.speak()
	}
	n, err := c.Conn.Write(p)
	if st := c.state.Load() - 1; n > 0 && (st == int32(http.StateIdle) || st == int32(http.StateNew)) && c.isAnswer(p) {
		c.answered.Store(true)
	}
	return n, err
}

// isAnswer tells whether p, which is written while the server waits for a request, says that what came instead is
// malformed. Other than that it writes the records of a handshake, short ones between two requests, and HTTP/2.
func (c *conn) isAnswer(p []byte) bool {
	switch {
	case !c.heard.Load() || !c.waits():
		return false
	case c.records.Load() == nil || sniff.Begins(p, "HTTP/1."):
		return true
	}
	return c.state.Load()-1 == int32(http.StateIdle) && p[0] == sniff.ApplicationData && len(p) > sniff.MaxAlert
}

// speak is called before somebody writes.
func (c *conn) speak() {
	c.spoke.Store(true)
	if c.claimed.Load() {
		c.yield()
	}
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

// awaited tells whether a server may get c yet.
func (c *conn) awaited() bool {
	return c.state.Load() == 0 && !c.isClosed() && (!c.spoke.Load() || c.records.Load() != nil)
}
