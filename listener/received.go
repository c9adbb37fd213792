package listener

import (
	"bytes"
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// received is told that n bytes were read into p.
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

// skipProxyHeader takes a header of the PROXY protocol from what was read of a new connection, and
// returns the rest. A wrapper may read that header when its server reads first. It begins no
// request, so it does not count as read.
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

// firstByte is told of the first bytes of a request.
func (c *conn) firstByte() {
	c.readSinceIdle.Store(true)
	adopted := c.adoptedIdle.Load()
	if !adopted && c.set.leaving.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begunAt = now()
	if adopted {
		c.adoptedIdle.Store(false)
		c.firstByteAt = time.Now()
		c.userDeadline = time.Time{}
		if c.headerTimeout > 0 {
			c.userDeadline = c.firstByteAt.Add(c.headerTimeout)
		}
		_ = c.setReadDeadlineLocked(c.userDeadline)
	}
}

// skipLineEnds takes the line ends from the front of what was read on a connection that was adopted
// idle. They belong to the request before, which net/http does not know of here (RFC 9112, 2.2).
func (c *conn) skipLineEnds(p []byte, n int) int {
	if !c.adoptedIdle.Load() || n == 0 || p[0] != '\r' && p[0] != '\n' {
		return n
	}
	return trimLineEnds(p, n)
}

func trimLineEnds(p []byte, n int) int { return copy(p, bytes.TrimLeft(p[:n], "\r\n")) }
