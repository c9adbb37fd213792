package listener

import (
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// MayPark announces Park. It comes before the servers serve: what is read without it can't be parked.
func (s *Set) MayPark() { s.mayPark.Store(true) }

// Park lets what comes on connections at rest stay in the kernel, of those that Leave would hand
// over, and does not wait. Leave hands it over with its connection. Unpark lets it be read here.
// The deadline of a read that is parked waits as long. Elsewhere than on Linux a read that is under
// way when Park is called goes on. Once the set leaves, Park does nothing: no Unpark would follow.
func (s *Set) Park() {
	over := make(chan struct{})
	s.parked.CompareAndSwap(nil, &over)
	if s.leaving.Load() != nil { // Leave, which calls Unpark then, may not have seen this
		s.Unpark()
	}
}

// Unpark undoes Park, if that was called.
func (s *Set) Unpark() {
	if over := s.parked.Swap(nil); over != nil {
		close(*over)
	}
}

// canPark tells whether what comes next on c can move with it.
func (c *conn) canPark(offered int, ahead bool) bool {
	return c.set.mayPark.Load() && c.state.Load() != 0 && c.awaitsRequest() && c.goesAlong() &&
		c.moves(c.protocol().atRest(offered, ahead))
}

// readParked reads what comes on c, which can park, or returns sockopt.ErrStays.
func (c *conn) readParked(p []byte) (int, error) {
	return sockopt.ReadUnless(c.Conn, p, func() bool {
		if d := c.set.leaving.Load(); d != nil {
			return d.canHandOver(c)
		}
		return c.set.parked.Load() != nil
	})
}

// awaitUnpark tells whether it has waited.
func (c *conn) awaitUnpark() bool {
	over := c.set.parked.Load()
	if over == nil {
		return false
	}
	begun := time.Now()
	<-*over
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadlines.user.IsZero() {
		c.deadlines.user = c.deadlines.user.Add(time.Since(begun))
		_ = c.setReadDeadlineLocked(c.deadlines.user)
	}
	return true
}
