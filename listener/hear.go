package listener

import (
	"bytes"
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// hear is told that n bytes were read into p.
func (c *conn) hear(p []byte, n int) {
	offered := len(p)
	if p = c.unproxy(p[:n]); len(p) == 0 {
		return
	}
	if !c.heard.Load() {
		if c.speaks.Load() == plain && c.wrapped.Load() && p[0] == sniff.HandshakeRecord && c.is(http.StateNew) {
			c.secure(new(sniff.Records)) // the wrapper is TLS, or there is some between
		}
		c.wake()
	}
	c.protocol().hear(p, offered)
}

// unproxy returns what is behind a header of the PROXY protocol in what was read of a new connection. A wrapper may
// read that when its server reads first, and it begins no request: as long as nothing else has come, nothing was heard.
func (c *conn) unproxy(p []byte) []byte {
	if !c.is(http.StateNew) || !c.wrapped.Load() || c.heard.Load() && c.proxy == nil {
		return p
	}
	text := append(c.proxy, p...)
	rest, part := sniff.BehindProxy(text)
	switch {
	case part || sniff.MayBeProxy(text):
		if c.proxy == nil {
			c.wake()
			c.head.Add([]byte("PROXY "))
			c.inRecord.Store(c.speaks.Load() == secured)
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

// unblank takes the line ends from the front of what was read on a connection that was adopted idle: they belong to the
// request before, which net/http does not know of here (RFC 9112, 2.2).
func (c *conn) unblank(p []byte, n int) int {
	if !c.guest.Load() || n == 0 || p[0] != '\r' && p[0] != '\n' {
		return n
	}
	return copy(p, bytes.TrimLeft(p[:n], "\r\n"))
}
