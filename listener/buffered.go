package listener

import (
	"bytes"
	"net/http"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// holds looks at what the server has in its buffer at the first Read since the connection is idle; ahead is whether a
// request line was read that has not begun. Net/http may have taken that, and whole lines behind it, out of the buffer.
func (c *conn) holds(offered int, ahead bool) {
	if offered == readSize {
		c.behind.Whole = true
	}
	if c.heard.Load() || c.state.Load()-1 != int32(http.StateIdle) || !c.sees() {
		return
	}
	n := readSize - offered
	p := c.behind.Kept(n)
	if ahead && !c.settled() && !c.covered.Load() {
		c.heard.Store(true)
	} else if n > 0 && c.head.Load() == 0 {
		c.head.Add(p)
		c.heard.Store(p == nil || sniff.HeadKind(p, false) != "")
	}
}

// sees tells whether what Read is offered is net/http's buffer, and what is in it plain text. A wrapper may have a
// buffer of its own, of another size.
func (c *conn) sees() bool {
	return c.records.Load() == nil && !c.h2.Load() && (!c.wrapped.Load() || c.behind.Whole)
}

// blank tells whether the server's buffer has whole line ends, and nothing else. It waits for more then, as it does for
// the first byte of a request: it needs four. No client misses them.
func (c *conn) blank(offered int) bool {
	const needed = 4
	n := readSize - offered
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
