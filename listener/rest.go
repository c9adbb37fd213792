package listener

import (
	"bytes"
	"net/http"

	"github.com/baton-go/baton/listener/internal/quirks"
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
	empty := offered == quirks.ReadSize || c.wrapped.Load()
	return between && (c.blank(offered) || !c.heard.Load() && empty)
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

// awaited tells whether a server may get c yet.
func (c *conn) awaited() bool {
	return c.state.Load() == 0 && !c.isClosed() && (!c.spoke.Load() || c.records.Load() != nil)
}

// holds looks at what the server has in its buffer at the first Read since the connection is idle; ahead is whether a
// request line was read that has not begun. Net/http may have taken that, and whole lines behind it, out of the buffer.
func (c *conn) holds(offered int, ahead bool) {
	if offered == quirks.ReadSize {
		c.behind.Whole = true
	}
	if c.heard.Load() || c.state.Load()-1 != int32(http.StateIdle) || !c.sees() {
		return
	}
	n := quirks.ReadSize - offered
	p := c.behind.Kept(n)
	if ahead && !c.settled() && !c.covered.Load() {
		c.heard.Store(true)
	} else if n > 0 && c.head.Load() == 0 {
		c.head.Add(p)
		c.heard.Store(p == nil || sniff.HeadKind(p, false) != "")
	}
}

// blank tells whether the server's buffer has whole line ends, and nothing else. It waits for more then, as it does for
// the first byte of a request: it needs four. No client misses them.
func (c *conn) blank(offered int) bool {
	const needed = 4
	n := quirks.ReadSize - offered
	p := c.behind.Kept(n)
	return 0 < n && n < needed && len(p) == n && p[n-1] == '\n' && len(bytes.Trim(p, "\r\n")) == 0 && c.sees()
}

// unblank takes the line ends from the front of what was read on a connection that was adopted idle: they belong to the
// request before, which net/http does not know of here (RFC 9112, 2.2).
func (c *conn) unblank(p []byte, n int) int {
	if !c.guest.Load() || n == 0 || p[0] != '\r' && p[0] != '\n' {
		return n
	}
	return copy(p, bytes.TrimLeft(p[:n], "\r\n"))
}
