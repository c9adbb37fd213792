package listener

import (
	"net/http"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.set.cutting.Load() { // it is about to be closed, see cut
		go func() { _ = c.close(true) }()
		return nil
	}
	return c.close(false)
}

func (c *conn) close(force bool) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return c.Conn.Close()
	}
	if c.set.leaving.Load() != nil {
		c.account(force)
		if !force {
			c.linger()
		}
	}
	if c.shared.Load() && !c.gone.Load() {
		c.part()
	}
	err := c.Conn.Close()
	c.set.remove(c)
	return err
}

// part tells the client that the connection ends, though other processes may have a descriptor of it.
func (c *conn) part() {
	if sc, ok := c.Conn.(interface{ CloseRead() error }); ok {
		_ = c.CloseWrite()
		_ = sc.CloseRead()
	}
}

// The client of a connection that is closed behind an answer is given up when it has received nothing for lingering, or
// when it has taken longer than longest in all.
const lingering, longest = 500 * time.Millisecond, 5 * time.Second

// linger keeps the last answer from being thrown away. A client that sends more than was read, such as a
// pipelined request, has the connection reset by a close, and loses what it has not received. One that has sent
// requests one behind the other may send the next when all before is read.
func (c *conn) linger() {
	if c.state.Load()-1 != int32(http.StateActive) || c.h2.Load() || !movable(c.Conn) ||
		sockopt.Unread(c.Conn) == 0 && !(c.lines.Piled.Load() && sockopt.Unsent(c.Conn) > 0) || c.CloseWrite() != nil {
		return
	}
	begin := time.Now()
	queued, since := -1, begin
	for !sockopt.Discard(c.Conn, 64<<10) && time.Since(begin) < longest {
		n := sockopt.Unsent(c.Conn)
		if n != queued {
			queued, since = n, time.Now()
		}
		if n == 0 || time.Since(since) > lingering {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// goesOn tells, while the server leaves, whether the client has sent more requests behind r before it could know: the
// answer to r is not to be the last then. It is so for one grace only, and as far as can be seen: not in TLS.
func (d *departure) goesOn(c *conn, r *http.Request) bool {
	if r.ProtoMajor != 1 || c.records.Load() != nil || c.h2.Load() {
		return false
	}
	if time.Since(time.Unix(0, d.from.Load())) > time.Duration(d.grace.Load()) {
		return false
	}
	if c.lines.Ahead.Load() > 0 {
		return true
	}
	n := sockopt.Unread(c.Conn)
	if n == 0 || r.ContentLength == 0 {
		return n > 0
	}
	var l sniff.RequestLines // is there one behind the body?
	l.Matched.Store(c.lines.Matched.Load())
	l.Feed(sockopt.Peek(c.Conn, min(n, 2*readSize)))
	return l.Ahead.Load() > 0
}

const unservedLeast = time.Second

// dismiss closes what came through sockets on which nobody has ever called Accept, when the grace
// of a departure is over: a program may listen and never serve. One that is about to has a second.
func (s *Set) dismiss() {
	for _, c := range s.all() {
		if c.sock == nil || c.sock.asked.Load() {
			continue
		}
		if n := sockopt.Unread(c.Conn); n > 0 {
			if kind := c.kindOf(n); kind != "" {
				c.lose(Loss{Kind: kind, Unread: n})
			}
		}
		_ = c.close(false)
	}
}
