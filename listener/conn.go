package listener

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// readSize is how many bytes net/http offers to Read when its buffer is empty: it reads through a bufio.Reader of the
// default size, which offers what is free in its buffer. A net/http that buffers otherwise is never seen at rest, so
// that its connections are closed with a grace instead of moved; a test tells.
var readSize = bufio.NewReader(nil).Size()

// conn is a connection that knows whether a request can be under way on it.
type conn struct {
	net.Conn // closed by Close
	set      *Set
	sock     *socket

	state    atomic.Int32 // http.ConnState + 1; 0 where the server was not given to Track
	requests atomic.Int32 // how many have begun
	heard    atomic.Bool  // bytes were read since the state became new or idle
	wrapped  atomic.Bool  // the server sees a type of its own around this one (TLS, a limiter): it can't be moved
	h2       atomic.Bool  // speaks HTTP/2
	guest    atomic.Bool  // adopted idle, has not sent a byte here
	gone     atomic.Bool  // another process has it
	ended    atomic.Bool  // released: there is nothing to read any more
	armed    atomic.Bool  // the read deadline was cleared, and nothing has been read since
	refused  atomic.Bool  // another process did not want it

	pending chan struct{}           // closed when the process that it was adopted from has been told; nil where nobody is
	records atomic.Pointer[records] // of TLS; nil: it is none, as far as is known, or HTTP/2
	led     atomic.Pointer[framed]  // by which Leave ends an HTTP/2 connection

	mu       sync.Mutex // guards what follows, and the read deadline of Conn
	waits    int        // read deadlines set since the state became new or idle
	deadline time.Time  // as the user of the connection wants it
	inForce  time.Time  // as Conn has it
	rested   time.Time  // when the state became new or idle; under TLS, when a byte came after that
	closeAt  time.Time  // while leaving, before when it is not closed
	queued   int        // while leaving, how many bytes of the last answer the client had not received
	closed   bool
	packed   bool          // is handed over by the application, or was
	header   time.Duration // a guest's time for its first header
	whole    time.Duration // a guest's time for its first request, 0 for ever
	woke     time.Time     // when a guest began its first request, until net/http has set the deadline for that
}

// Read reads like the connection it wraps. While the process leaves and no request can be under way, it hands the
// connection to the departure instead, and returns io.EOF once it is gone.
func (c *conn) Read(p []byte) (int, error) {
	if c.pending != nil {
		<-c.pending
	}
	for {
		if c.ended.Load() { // net/http may ask again
			return 0, io.EOF
		}
		if d := c.set.leaving.Load(); d != nil && c.atRest(len(p)) && d.release(c) {
			c.ended.Store(true)
			continue
		}
		n, err := c.read(p)
		if n > 0 {
			if c.armed.Load() {
				c.armed.Store(false)
			}
			if !c.heard.Load() {
				c.wake()
			}
			if r := c.records.Load(); r != nil {
				r.feed(p[:n])
				c.stir()
			}
			return n, err
		}
		if err == nil || !isTimeout(err) || c.due() {
			return n, err
		}
	}
}

// read reads what has come. Net/http reads a single byte in the background of a handler, to learn of a client that goes
// away; it clears the deadline first. While leaving, that byte stays where it is: with it net/http would hold the
// beginning of the next request, and a client without think time would keep its connection, and this process, busy.
func (c *conn) read(p []byte) (int, error) {
	if len(p) == 1 && c.armed.Load() && c.state.Load()-1 == int32(http.StateActive) {
		if d := c.set.leaving.Load(); d != nil && d.moves(c) {
			return awaitEnd(c.Conn, p)
		}
	}
	return c.Conn.Read(p)
}

// atRest tells, on the goroutine that reads, whether the server waits for the first byte of a request and holds none of
// it, not even in a buffer. For net/http between two requests this takes three facts, and a test for each: nothing was
// read since it called itself idle; it set its deadline for the wait and has not set the next, which it does as soon
// as four bytes are there (a pipelined request line may have emptied the buffer since); and it offers its whole buffer
// to Read, so nothing of a pipelined request is in it. What a wrapper has read of a new connection may have been a TLS
// handshake, and a wrapper's buffer can't be known: such connections are only closed, after a grace. What crypto/tls has
// read of an idle one, without the server setting its next deadline, was no request either (a KeyUpdate), unless it is a
// part of a record.
func (c *conn) atRest(offered int) bool {
	if r := c.records.Load(); r != nil {
		state := c.state.Load() - 1
		return !r.inData() && (state == int32(http.StateNew) || state == int32(http.StateIdle) && c.waiting()) && !c.h2.Load()
	}
	switch c.state.Load() - 1 {
	case int32(http.StateNew):
		return (!c.heard.Load() || c.wrapped.Load()) && !c.h2.Load()
	case int32(http.StateIdle):
		return !c.heard.Load() && c.waiting() && (offered == readSize || c.wrapped.Load()) && !c.h2.Load()
	}
	return false
}

func (c *conn) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waits == 1
}

// wake is told of the first bytes of a request.
func (c *conn) wake() {
	c.heard.Store(true)
	if c.guest.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.guest.Store(false)
		c.woke = time.Now()
		c.deadline = time.Time{}
		if c.header > 0 {
			c.deadline = c.woke.Add(c.header)
		}
		_ = c.force(c.deadline)
	}
}

// stir gives a TLS connection on which something has come its whole grace again.
func (c *conn) stir() {
	if s := c.state.Load() - 1; s == int32(http.StateNew) || s == int32(http.StateIdle) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rested = time.Now()
	}
}

// due tells whether a read that timed out did so by the user's own deadline. Otherwise it was a departure that wanted the
// reader's attention, and the user's deadline is put back.
func (c *conn) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return true
	}
	_ = c.force(c.deadline)
	return false
}

// rouse makes a blocked Read look at the departure.
func (c *conn) rouse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.force(time.Unix(1, 0))
}

// force sets the read deadline of Conn. Net/http clears it six times a request, most often when it is clear already, which
// costs more than to know that; the time won pays for what this type does.
func (c *conn) force(t time.Time) error {
	if t.IsZero() && c.inForce.IsZero() {
		return nil
	}
	c.inForce = t
	return c.Conn.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits++
	if c.armed.Load() != t.IsZero() {
		c.armed.Store(t.IsZero())
	}
	if c.guest.Load() {
		return nil // the first wait of an adopted connection is an idle one, whatever the server thinks
	}
	if !c.woke.IsZero() {
		if c.whole > 0 && !t.IsZero() && c.state.Load()-1 == int32(http.StateNew) {
			t = c.woke.Add(c.whole) // net/http counts ReadTimeout from when it got the connection
		}
		c.woke = time.Time{}
	}
	c.deadline = t
	return c.force(t)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// Close implements net.Conn.
func (c *conn) Close() error { return c.close(false) }

// close keeps the loss ledger, while leaving. A server that closes in the middle of a request has answered it, or its
// handler has given up, and what is unread is the rest of it; but not where all is closed by force.
func (c *conn) close(force bool) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return c.Conn.Close()
	}
	if c.set.leaving.Load() != nil && c.ledgered(force) {
		if n := unread(c.Conn); n > 0 && (n > maxAlert || c.records.Load() == nil) {
			c.set.lost.Add(1)
			c.set.onLoss(Loss{Listener: c.sock.key, Remote: c.RemoteAddr().String(), Unread: n})
		}
	}
	err := c.Conn.Close()
	c.set.remove(c)
	return err
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *conn) ledgered(force bool) bool {
	if c.gone.Load() || c.wrapped.Load() && (c.records.Load() == nil || c.h2.Load()) || c.h2.Load() && !force {
		return false // of HTTP/2 it was no request after the two GOAWAYs, or the server has answered with an error
	}
	switch c.state.Load() - 1 {
	case int32(http.StateNew), int32(http.StateIdle):
		return true
	case int32(http.StateActive):
		return force
	}
	return false
}

// NetConn returns the connection that c wraps, as in crypto/tls. Reading from it makes c useless.
func (c *conn) NetConn() net.Conn { return c.Conn }

// tcpConn is a conn that can send files. Others must not have the method: net/http then goes another way for files, which
// is the dearer one without the kernel's help.
type tcpConn struct{ *conn }

// ReadFrom keeps sendfile and splice working under net/http.
func (c tcpConn) ReadFrom(r io.Reader) (int64, error) { return c.Conn.(io.ReaderFrom).ReadFrom(r) }

// face is what Accept returns for c.
func (c *conn) face() net.Conn {
	if _, ok := c.Conn.(io.ReaderFrom); ok {
		return tcpConn{c}
	}
	return c
}

// CloseWrite implements what net/http looks for to end a connection gently.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return syscall.EINVAL
}

// SyscallConn implements syscall.Conn.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.EINVAL
}

func (c *conn) count(n *Counts) {
	if c.h2.Load() {
		n.HTTP2++
		return
	}
	switch c.state.Load() - 1 {
	case int32(http.StateNew):
		switch {
		case c.guest.Load():
			n.Idle++
		case c.heard.Load():
			n.Active++
		default:
			n.New++
		}
	case int32(http.StateIdle):
		n.Idle++
	case int32(http.StateActive):
		n.Active++
	case int32(http.StateHijacked):
		n.Hijacked++
	default:
		n.Other++
	}
}
