package listener

import (
	"bytes"
	"net/http"
)

// leftover is what lies in net/http's buffer behind a request: the client has sent it in one packet with that. The
// buffer's size and what it offers to Read tell how much that is; the last bytes that were read tell what.
type leftover struct {
	last  [128]byte
	n     int  // bytes of last
	whole bool // an empty buffer was offered: what offers less has the rest of it filled
}

// add is called by one goroutine at a time, as kept is.
func (l *leftover) add(p []byte) {
	p = p[max(0, len(p)-len(l.last)):]
	keep := min(l.n, len(l.last)-len(p))
	copy(l.last[:keep], l.last[l.n-keep:l.n])
	l.n = keep + copy(l.last[keep:], p)
}

// afterHead returns what was read behind the last whole head; not all of it where that is more than is kept.
func (l *leftover) afterHead() (p []byte, all bool) {
	p = l.last[:l.n]
	for _, end := range []string{"\n\r\n", "\n\n"} {
		if i := bytes.LastIndex(p, []byte(end)); i >= 0 {
			p, all = p[i+len(end):], true
		}
	}
	return p, all
}

// kept returns the bytes in a buffer that offers so much to Read. There may be n of them and none that is known, since
// they are too many.
func (l *leftover) kept(offered int) (p []byte, n int) {
	if n = readSize - offered; n <= 0 || n > l.n {
		return nil, max(0, n)
	}
	return l.last[l.n-n : l.n], n
}

// holds looks at what the server has in its buffer at the first Read since the connection is idle; ahead is whether a
// request line was read that has not begun. Net/http may have taken that, and whole lines behind it, out of the buffer.
func (c *conn) holds(offered int, ahead bool) {
	if offered == readSize {
		c.behind.whole = true
	}
	if c.heard.Load() || c.state.Load()-1 != int32(http.StateIdle) || !c.sees() {
		return
	}
	p, n := c.behind.kept(offered)
	if ahead && !c.settled() && !c.covered.Load() {
		c.heard.Store(true)
	} else if n > 0 && c.head.Load() == 0 {
		c.head.add(p)
		c.heard.Store(p == nil || headKind(p, false) != "")
	}
}

// sees tells whether what Read is offered is net/http's buffer, and what is in it plain text. A wrapper may have a
// buffer of its own, of another size.
func (c *conn) sees() bool {
	return c.records.Load() == nil && !c.h2.Load() && (!c.wrapped.Load() || c.behind.whole)
}

// blank tells whether the server's buffer has whole line ends, and nothing else. It waits for more then, as it does for
// the first byte of a request: it needs four. No client misses them.
func (c *conn) blank(offered int) bool {
	const needed = 4
	p, n := c.behind.kept(offered)
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
