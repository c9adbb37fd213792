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
	if !c.input.sinceIdle.Load() {
		if c.speaks.Load() == plain && c.wrapper.seen.Load() && p[0] == sniff.HandshakeRecord && c.is(http.StateNew) {
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
	if !c.is(http.StateNew) || !c.wrapper.seen.Load() || c.input.sinceIdle.Load() && c.input.proxyHeader == nil {
		return p
	}
	text := append(c.input.proxyHeader, p...)
	rest, part := sniff.BehindProxy(text)
	switch {
	case part || sniff.MayBeProxy(text):
		if c.input.proxyHeader == nil {
			c.firstByte()
			c.input.head.Add([]byte("PROXY "))
			c.input.inRecord.Store(c.speaks.Load() == secured)
		}
		c.input.proxyHeader = text
		return nil
	case c.input.proxyHeader != nil || len(rest) < len(text):
		c.input.proxyHeader = nil
		c.input.head.Store(0)
		c.input.inRecord.Store(false)
		c.input.sinceIdle.Store(false)
	}
	return rest
}

// firstByte is told of the first bytes of a request.
func (c *conn) firstByte() {
	c.input.sinceIdle.Store(true)
	adopted := c.adopted.idle.Load()
	if !adopted && c.set.leaving.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since.begun = now()
	if adopted {
		c.adopted.idle.Store(false)
		c.deadlines.firstByteAt = time.Now()
		c.deadlines.user = time.Time{}
		if c.deadlines.headerTimeout > 0 {
			c.deadlines.user = c.deadlines.firstByteAt.Add(c.deadlines.headerTimeout)
		}
		_ = c.setReadDeadlineLocked(c.deadlines.user)
	}
}

// skipLineEnds takes the line ends from the front of what was read on a connection that was adopted
// idle. They belong to the request before, which net/http does not know of here (RFC 9112, 2.2).
func (c *conn) skipLineEnds(p []byte, n int) int {
	if !c.adopted.idle.Load() || n == 0 || p[0] != '\r' && p[0] != '\n' {
		return n
	}
	return trimLineEnds(p, n)
}

func trimLineEnds(p []byte, n int) int { return copy(p, bytes.TrimLeft(p[:n], "\r\n")) }
