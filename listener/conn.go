package listener

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
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
	wrapped  atomic.Bool  // the server sees another type around this one (TLS, a limiter): it can't be moved
	h2       atomic.Bool  // speaks HTTP/2
	guest    atomic.Bool  // adopted idle, has not sent a byte here
	gone     atomic.Bool  // another process has it
	ended    atomic.Bool  // released: there is nothing to read any more
	armed    atomic.Bool  // the read deadline was cleared, and nothing has been read since
	aborted  atomic.Bool  // net/http wants the read behind a handler's back to end
	refused  atomic.Bool  // another process did not want it
	shared   atomic.Bool  // another process may have a descriptor of it that it doesn't serve
	covered  atomic.Bool  // lies under a wrapper that doesn't lead to it by NetConn
	bare     atomic.Bool  // that wrapper has no state of its own
	shaded   bool         // Conn is not one of a socket of ours, see shade
	spoke    atomic.Bool  // something was written
	claimed  atomic.Bool  // the departure holds first, and may let go of it
	greeted  atomic.Int32 // what the client has said before a server got it, a said

	parted   atomic.Bool        // the client has closed it
	half     atomic.Bool        // it was closed in the middle of a request
	inRecord atomic.Bool        // of TLS: a part of a record has been read
	early    atomic.Bool        // the first byte of the next request has been read
	h2begun  atomic.Bool        // HTTP/2 has begun, see note
	counted  atomic.Bool        // of HTTP/2: each request is, as its handler begins
	body     atomic.Int64       // how long the body of the last request is; -1: not known
	answered atomic.Bool        // what the client has sent instead of a request, or so the server thinks
	lines    sniff.RequestLines // that were read
	head     sniff.Prefix       // what was read since the state became new or idle

	first    sync.Mutex      // held by who reads before a server got it, and by a departure that lets it go
	greeting *sniff.Greeting // the reader's
	behind   sniff.Tail      // the reader's
	proxy    []byte          // the reader's: a part of a header of the PROXY protocol

	pending chan struct{}                 // closed when its giver has been told; nil: no giver
	records atomic.Pointer[sniff.Records] // of TLS; nil: it is none, as far as is known, or HTTP/2
	led     atomic.Pointer[h2drain.Conn]  // by which Leave ends an HTTP/2 connection

	mu        sync.Mutex // guards what follows, and the read deadline of Conn
	deadlines int        // how many read deadlines were set since the state became new or idle
	deadline  time.Time  // as the user of the connection wants it
	inForce   time.Time  // as Conn has it
	since     time.Time  // when the state became new or idle; or the last answer was received, if that is later
	rested    time.Time  // the same; under TLS, when a byte came after that
	begun     time.Time  // when the client began what it has not finished
	closeAt   time.Time  // while leaving, before when it is not closed
	queued    int        // while leaving, how many bytes of the last answer the client had not received
	closed    bool
	packed    bool                      // is handed over by the application, or was
	header    time.Duration             // a guest's time for its first header
	whole     time.Duration             // a guest's time for its first request, 0 for ever
	woke      time.Time                 // when a guest began its first request; 0 from its deadline on
	taken     bool                      // by a handler, see Hijack
	serving   request                   // of HTTP/1
	handled   bool                      // a handler has begun since the state became new or idle, of HTTP/1
	streams   map[*http.Request]request // of HTTP/2
}

// Read reads like the connection it wraps. While the process leaves and no request can be under way on it, it hands the
// connection to the departure instead, and returns an error once it is gone.
func (c *conn) Read(p []byte) (int, error) {
	if c.pending != nil {
		<-c.pending
	}
	// In this order: a departure that has claimed c looks at the state then.
	if c.state.Load() != 0 && !c.claimed.Load() || c.hasSaid() == sniff.SaidMore {
		return c.readOn(p)
	}
	c.first.Lock()
	defer c.first.Unlock()
	return c.readOn(p)
}

func (c *conn) readOn(p []byte) (int, error) {
	ahead := c.lines.Ahead.Load() > 0
	c.holds(len(p), ahead)
	for {
		if c.ended.Load() { // net/http may ask again
			return 0, c.end()
		}
		if c.aborted.Load() && c.state.Load()-1 == int32(http.StateActive) {
			return 0, os.ErrDeadlineExceeded // a wrapper's Read may have set another deadline since
		}
		if d := c.set.leaving.Load(); d != nil && c.waits() && d.release(c, c.atRest(len(p), ahead)) {
			if c.ended.Store(true); c.state.Load() == 0 {
				c.leaveUnmet()
			}
			continue
		}
		if (len(p) == readSize || c.wrapped.Load()) && c.waits() {
			c.lines.Clear() // the server's buffer is empty, or as good as that
		}
		n, err := c.read(p)
		if n > 0 {
			if c.armed.Load() {
				c.armed.Store(false)
			}
			if n = c.unblank(p, n); n == 0 && err == nil {
				continue
			} else if n > 0 {
				c.hear(p, n)
			}
			return n, err
		}
		if err == nil || !isTimeout(err) || c.due() {
			if err != nil && !isTimeout(err) {
				c.parted.Store(true)
			}
			return n, err
		}
	}
}

// end is what Read returns when there is nothing to read any more: what net/http closes the
// connection at without a word. At an end in the middle of a request it would send an answer, and a
// wrapper may hold the beginning of one.
func (c *conn) end() error {
	if c.half.Load() || c.wrapped.Load() {
		return &net.OpError{Op: "read", Net: c.LocalAddr().Network(), Source: c.LocalAddr(),
			Addr: c.RemoteAddr(), Err: net.ErrClosed}
	}
	return io.EOF
}

// read reads what has come. Net/http reads a single byte in the background of a handler, to learn of a client that goes
// away; it clears the deadline first. While leaving, that byte stays where it is: with it net/http would hold the
// beginning of the next request, and a client without think time would keep its connection, and this process, busy.
func (c *conn) read(p []byte) (int, error) {
	if len(p) == 1 && c.armed.Load() && c.state.Load()-1 == int32(http.StateActive) {
		if d := c.set.leaving.Load(); d != nil && d.moves(c) {
			return sockopt.AwaitEnd(c.Conn, p)
		}
	}
	return c.Conn.Read(p)
}

// due tells whether a read that timed out did so by the user's own deadline. Otherwise it was a
// departure that wanted the reader's attention, and the user's deadline is put back.
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
	if c.shaded { // nobody reads through it
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.force(longAgo)
}

// force sets the read deadline of Conn. Net/http clears it six times a request, most often when it
// is clear already, which costs more than to know that; the time won pays for what this type does.
func (c *conn) force(t time.Time) error {
	if t.IsZero() && c.inForce.IsZero() {
		return nil
	}
	c.inForce = t
	return c.Conn.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.answers(t) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadlines++
	c.arm(t)
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

// arm is told of a read deadline. Net/http clears it before a read behind a handler's back, and
// ends that by one that is long over. What a wrapper's Read sets comes between: it is neither.
func (c *conn) arm(t time.Time) {
	clear, abort := t.IsZero(), t.Equal(longAgo)
	if c.covered.Load() && !clear && !abort {
		return
	}
	if c.armed.Load() != clear {
		c.armed.Store(clear)
	}
	if c.aborted.Load() != abort {
		c.aborted.Store(abort)
	}
}

// longAgo is the deadline by which net/http, and this package, end a read.
var longAgo = time.Unix(1, 0)

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// NetConn returns the connection that c wraps, as in crypto/tls. Reading from it makes c useless.
func (c *conn) NetConn() net.Conn { return c.Conn }

// tcpConn is a conn that can send files. Others must not have the method: net/http then goes
// another way for files, which is the dearer one without the kernel's help.
type tcpConn struct{ *conn }

// ReadFrom keeps sendfile and splice working under net/http.
func (c tcpConn) ReadFrom(r io.Reader) (int64, error) {
	if !c.spoke.Load() {
		c.speak()
	}
	return c.Conn.(io.ReaderFrom).ReadFrom(r)
}

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
		switch {
		case !c.unmet():
			n.Other++
		case c.hasSaid() == sniff.SaidNothing:
			n.New++
		default:
			n.Active++
		}
	}
}
