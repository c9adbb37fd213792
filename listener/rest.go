package listener

import (
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// waits tells whether the server waits for a request of HTTP/1, or for the rest of its head, in the
// read that is about to begin: while it is new or idle, net/http reads nothing else, and it has no
// head that is whole.
func (c *conn) waits() bool {
	switch c.state.Load() - 1 {
	case int32(http.StateNew), int32(http.StateIdle):
		return !c.h2.Load()
	}
	return c.unmet()
}

// atRest tells, on the goroutine that reads, whether the server waits for the first byte of a
// request and holds none of it, not even in a buffer. For net/http between two requests this takes
// three facts, and a test for each: nothing was read since it called itself idle; it set its
// deadline for the wait and has not set the next, which it does as soon as four bytes are there (a
// pipelined request line may have emptied the buffer since); and it offers its whole buffer to
// Read, so nothing of a pipelined request is in it, or all but a line end, see blank.
// What a wrapper has read of a new connection may
// have been a TLS handshake, and a wrapper's buffer can't be known: such connections are only
// closed, after a grace. What crypto/tls has read of an idle one, without the server setting its
// next deadline, was no request either (a KeyUpdate), unless it is a part of a record.
//
// A wrapper that sets a deadline in its own Read, as an idle timeout does, hides the second fact.
// Then a pipelined request line that was read ahead, and not begun when this Read was, tells the same.
func (c *conn) atRest(offered int, ahead bool) bool {
	if !c.waits() {
		return false
	}
	if c.state.Load() == 0 {
		return c.hasSaid() == sniff.SaidNothing || c.hasSaid() == sniff.SaidHello
	}
	isNew := c.state.Load()-1 == int32(http.StateNew)
	if r := c.records.Load(); r != nil {
		return !r.Partial() && (isNew || c.settled() || c.covered.Load() && !c.heard.Load())
	}
	if isNew {
		return !c.heard.Load()
	}
	between := c.settled() || (c.covered.Load() || c.wrapped.Load()) && !ahead
	empty := offered == readSize || c.wrapped.Load()
	return between && (c.blank(offered) || !c.heard.Load() && empty)
}

// settled tells whether the server has set one read deadline since the connection is idle.
func (c *conn) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadlines == 1
}

// hear is told that n bytes were read into p.
func (c *conn) hear(p []byte, n int) {
	offered := len(p)
	if p = c.unproxy(p[:n]); len(p) == 0 {
		return
	}
	r := c.records.Load()
	if !c.heard.Load() {
		if r == nil && c.wrapped.Load() && p[0] == sniff.HandshakeRecord && c.state.Load()-1 == int32(http.StateNew) {
			r = new(sniff.Records) // the wrapper is TLS, or there is some between
			c.records.Store(r)
		}
		c.wake()
	}
	greets := c.state.Load() == 0 && c.sock != nil && c.sock.tracked.Load() && c.hasSaid() != sniff.SaidMore
	if greets {
		c.greet(p)
		r = c.records.Load()
	}
	if r != nil {
		begins := !r.Partial()
		if !greets {
			r.Feed(p)
		}
		if in := r.Partial(); in != c.inRecord.Load() {
			c.inRecord.Store(in)
		}
		c.stir(begins)
		return
	}
	switch {
	case greets:
	case c.waits():
		c.head.Add(p)
	case offered == 1 && c.state.Load()-1 == int32(http.StateActive): // read behind a handler's back, see read
		c.head.Store(0)
		c.head.Add(p)
		c.early.Store(true)
	}
	if offered <= readSize { // what is larger is a handler's, for a body
		c.lines.Feed(p)
		c.behind.Add(p)
	}
}

// unproxy returns what is behind a header of the PROXY protocol in what was read of a new connection. A wrapper may
// read that when its server reads first, and it begins no request: as long as nothing else has come, nothing was heard.
func (c *conn) unproxy(p []byte) []byte {
	if c.state.Load()-1 != int32(http.StateNew) || !c.wrapped.Load() || c.heard.Load() && c.proxy == nil {
		return p
	}
	text := append(c.proxy, p...)
	rest, part := sniff.BehindProxy(text)
	switch {
	case part || sniff.MayBeProxy(text):
		if c.proxy == nil {
			c.wake()
			c.head.Add([]byte("PROXY "))
			c.inRecord.Store(c.records.Load() != nil)
		}
		c.proxy = text
		return nil
	case c.proxy != nil || len(rest) < len(text):
		c.proxy = nil
		c.head.Store(0)
		c.inRecord.Store(false)
		c.heard.Store(false)
	}
	return rest
}

// wake is told of the first bytes of a request.
func (c *conn) wake() {
	c.heard.Store(true)
	guest := c.guest.Load()
	if !guest && c.set.leaving.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = time.Now()
	if guest {
		c.guest.Store(false)
		c.woke = c.begun
		c.deadline = time.Time{}
		if c.header > 0 {
			c.deadline = c.woke.Add(c.header)
		}
		_ = c.force(c.deadline)
	}
}

// stir gives a TLS connection on which something has come its whole grace again. Begins is true
// where that begins a record.
func (c *conn) stir(begins bool) {
	if !c.waits() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rested = time.Now()
	if begins {
		c.begun = c.rested
	}
}
