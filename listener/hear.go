package listener

import (
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
)

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
	if offered <= quirks.ReadSize { // what is larger is a handler's, for a body
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
