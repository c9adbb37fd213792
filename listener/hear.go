package listener

import (
	"bytes"
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// hear is told that n bytes were read into p.
func (c *conn) received(p []byte, n int) {
	offered := len(p)
	if p = c.skipProxyHeader(p[:n]); len(p) == 0 {
		return
	}
	if !c.readSinceIdle.Load() {
		if c.speaks.Load() == plain && c.wrapped.Load() && p[0] == sniff.HandshakeRecord && c.is(http.StateNew) {
			c.secure(new(sniff.Records)) // the wrapper is TLS, or there is some between
		}
		c.firstByte()
	}
	c.protocol().received(p, offered)
}

// unproxy returns what is behind a header of the PROXY protocol in what was read of a new connection. A wrapper may
// read that when its server reads first, and it begins no request: as long as nothing else has come, nothing was heard.
func (c *conn) skipProxyHeader(p []byte) []byte {
	if !c.is(http.StateNew) || !c.wrapped.Load() || c.readSinceIdle.Load() && c.proxyHeader == nil {
		return p
	}
	text := append(c.proxyHeader, p...)
	rest, part := sniff.BehindProxy(text)
	switch {
	case part || sniff.MayBeProxy(text):
		if c.proxyHeader == nil {
			c.firstByte()
			c.head.Add([]byte("PROXY "))
			c.inRecord.Store(c.speaks.Load() == secured)
		}
		c.proxyHeader = text
		return nil
	case c.proxyHeader != nil || len(rest) < len(text):
		c.proxyHeader = nil
		c.head.Store(0)
		c.inRecord.Store(false)
		c.readSinceIdle.Store(false)
	}
	return rest
}

// wake is told of the first bytes of a request.
func (c *conn) firstByte() {
	c.readSinceIdle.Store(true)
	guest := c.adoptedIdle.Load()
	if !guest && c.set.leaving.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begunAt = time.Now()
	if guest {
		c.adoptedIdle.Store(false)
		c.firstByteAt = c.begunAt
		c.userDeadline = time.Time{}
		if c.headerTimeout > 0 {
			c.userDeadline = c.firstByteAt.Add(c.headerTimeout)
		}
		_ = c.setReadDeadlineLocked(c.userDeadline)
	}
}

// unblank takes the line ends from the front of what was read on a connection that was adopted idle: they belong to the
// request before, which net/http does not know of here (RFC 9112, 2.2).
func (c *conn) skipLineEnds(p []byte, n int) int {
	if !c.adoptedIdle.Load() || n == 0 || p[0] != '\r' && p[0] != '\n' {
		return n
	}
	return copy(p, bytes.TrimLeft(p[:n], "\r\n"))
}
