package listener

import (
	"math/rand/v2"
	"time"
)

// farewell tells the HTTP/2 connections to leave, or to hurry, within half the grace, but no more than a thousand a second:
// their clients connect anew.
func (d *departure) farewell(conns []*conn, tell func(f *framed, grace time.Duration)) {
	led := make([]*framed, 0, len(conns))
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

// Hurry gives the connections that are at rest during a Leave less grace than that was called with, from now on. More
// changes nothing, and neither does Hurry before Leave. HTTP/2 clients have that grace for all PINGs together.
func (s *Set) Hurry(grace time.Duration) {
	d := s.leaving.Load()
	if d == nil || int64(grace) >= d.grace.Load() {
		return
	}
	d.grace.Store(int64(max(0, grace)))
	conns := s.all()
	d.farewell(conns, (*framed).hurry)
	for _, c := range conns {
		c.mu.Lock()
		c.closeAt = time.Time{}
		c.mu.Unlock()
		c.rouse()
	}
}

// retire closes c if it has had its grace and nothing is unread, or sets it the time for that.
func (d *departure) retire(c *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, grace := time.Now(), time.Duration(d.grace.Load())
	// A client that still receives the last answer does not rest: the end of the connection would come just behind
	// that, when the next request may be on its way. One that does not read on is given up as others are.
	if n := unsent(c.Conn); n != c.queued {
		c.queued, c.rested = n, now
	}
	if c.closeAt.IsZero() {
		c.closeAt = now.Add(grace/2 + rand.N(grace/2+1))
	}
	wake := c.closeAt
	if whole := c.rested.Add(grace); whole.After(wake) {
		wake = whole // a client that uses its connection more often than that does so in time
	}
	if !now.Before(wake) {
		return unread(c.Conn) == 0
	}
	if !c.deadline.IsZero() && c.deadline.Before(wake) {
		wake = c.deadline
	}
	_ = c.force(wake)
	return false
}
