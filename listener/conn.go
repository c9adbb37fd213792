package listener

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/dormant"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// conn is a connection that knows whether a request can be under way on it. What it knows lies in facts.go.
type conn struct {
	net.Conn // closed by Close; of one that is dormant, guarded by firstReader and mu
	set      *Set
	sock     *socket
	age      age
	foreign  bool         // Conn came through no socket of this set, see addForeign
	dialed   bool         // by Dial
	talk     conversation // of a Followed, or nil; set before a server gets the connection
	seal     *seal        // of a TLSListener's; set before a server gets the connection
	resumed  *resumption  // of HTTP/2 that goes on from another process; nil for others

	state        atomic.Int32 // http.ConnState + 1; 0 where the server was not given to Track
	speaks       atomic.Int32 // plain, secured or framed, see protocol
	hasWritten   atomic.Bool  // this process has written to it
	rejected     atomic.Bool  // the server has answered that what came is malformed
	released     atomic.Bool  // there is nothing to read any more
	clientClosed atomic.Bool  // the client has closed it

	input      input
	serverRead serverRead
	requests   requests
	session    session
	wrapper    wrapper
	deadlines  deadlines
	behind     behind
	since      since
	closing    closing
	move       moving
	adopted    adoption
	http2      led

	firstReader sync.Mutex // held by a read before a server got it, or while a drainer decides
	mu          sync.Mutex // guards closed, the read deadline of Conn, and the facts that say so
	closed      bool
}

// conversation is what is known of the requests that are read and the answers that are written.
type conversation interface {
	rests() bool // each request that was read has been answered, and nothing else was read
	owes() bool  // a request that was read has not been answered
}

// The protocols of a conn once a server has it.
const (
	plain    int32 = iota // HTTP/1, or something else that can be read
	secured               // TLS, of which records are seen
	framed                // HTTP/2, or what net/http takes for it
	followed              // HTTP/1, which a talk follows
	insealed              // HTTP/1 over TLS, whose data are seen, see unsealed
)

// setReadDeadlineLocked sets the read deadline of Conn. Net/http clears it six times a request,
// most often when it is clear already. To skip those calls saves more time than this type costs.
func (c *conn) setReadDeadlineLocked(t time.Time) error {
	if t.IsZero() && c.deadlines.inForce.IsZero() {
		return nil
	}
	c.deadlines.inForce = t
	c.deadlines.lose(deadlineSame)
	return c.Conn.SetReadDeadline(t)
}

// asleep tells whether no server here has, or is about to have, c, which rests. The holder of firstReader keeps it so.
func (c *conn) asleep() bool { return c.adopted.dormant && !c.adopted.awake.Load() }

// wipeTaken is called where no server will get c, with mu held unless no other goroutine knows c.
func (c *conn) wipeTaken() {
	if s := c.adopted.keys.Swap(nil); s != nil {
		s.Wipe()
	}
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// NetConn returns the connection that c wraps, as in crypto/tls. Reading from it makes c useless.
func (c *conn) NetConn() net.Conn { return c.Conn }

// tcpConn is a conn that can send files. Others must not have the method: net/http then takes a way
// for files that costs more without the kernel's help.
type tcpConn struct{ *conn }

// ReadFrom keeps sendfile and splice working under net/http.
func (c tcpConn) ReadFrom(r io.Reader) (int64, error) {
	if !c.hasWritten.Load() {
		c.beforeWrite()
	}
	return c.Conn.(io.ReaderFrom).ReadFrom(r)
}

// netConn is what Accept returns for c.
func (c *conn) netConn() net.Conn {
	if _, ok := c.Conn.(io.ReaderFrom); ok {
		return tcpConn{c}
	}
	return c
}

// CloseWrite is what net/http looks for to end a connection gently, SyscallConn for sendfile.
func (c *conn) CloseWrite() error                     { return closeWrite(c.Conn) }
func (c *conn) SyscallConn() (syscall.RawConn, error) { return sockopt.RawConn(c.Conn) }

func closeWrite(nc net.Conn) error {
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return syscall.EINVAL
}

// isStreamSocket tells whether nc is a stream socket of the kernel, and not a wrapper or a pipe.
func isStreamSocket(nc net.Conn) bool {
	switch nc := nc.(type) {
	case *net.TCPConn, *dormant.Conn:
		return true
	case *net.UnixConn:
		return nc.LocalAddr().Network() == "unix"
	}
	return false
}

func (c *conn) key() string {
	if c.sock == nil {
		return c.LocalAddr().Network() + " " + c.LocalAddr().String()
	}
	return c.sock.key
}

// inProcess tells whether the client is this process.
func (c *conn) inProcess() bool {
	return !c.adopted.dormant && c.Conn.RemoteAddr() != nil && c.Conn.RemoteAddr().Network() == "pipe"
}

func (c *conn) isHandingOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.move.byProgram
}

// settled tells whether the server has set one read deadline since the connection is idle.
func (c *conn) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadlines.calls == 1
}

// secure records that the client speaks TLS.
func (c *conn) secure(r *sniff.Records) {
	c.input.records = r
	c.speaks.Store(secured)
}

// is tells whether the server has reported that state last.
func (c *conn) is(state http.ConnState) bool { return c.state.Load() == int32(state)+1 }

// isTLS tells whether the client speaks TLS.
func (c *conn) isTLS() bool {
	s := c.speaks.Load()
	return s == secured || s == insealed
}

func (c *conn) isHTTP2() bool { return c.speaks.Load() == framed }

type connKey struct{}

// ends tells whether this package ends the connection.
func (c *conn) ends() bool { return c.set.leaving.Load() != nil || c.age.told.Load() }

// tellAge is called where the client is told that the connection ends for its age. It reports true the first time.
func (c *conn) tellAge() bool {
	if c.age.told.Swap(true) {
		return false
	}
	c.set.aged.Add(1)
	return true
}

func (c *conn) hasSaid() sniff.Said { return sniff.Said(c.input.said.Load()) }

// awaitClaim waits while a drainer that has claimed c decides whether to let it go.
func (c *conn) awaitClaim() {
	if c.move.claimed.Load() {
		c.firstReader.Lock()
		defer c.firstReader.Unlock()
	}
}

// beforeWrite is called before the first write.
func (c *conn) beforeWrite() {
	c.hasWritten.Store(true)
	c.awaitClaim()
}

// awaitsRequest tells whether the server waits for a request, or for the rest of its head, in the
// read that is about to begin. While net/http calls a connection new or idle, it reads nothing but a
// head, and has none that is whole. HTTP/2 is h2drain's.
func (c *conn) awaitsRequest() bool {
	if c.state.Load() == 0 {
		return c.unmet()
	}
	return (c.is(http.StateNew) || c.is(http.StateIdle)) && !c.isHTTP2()
}

// unmet tells whether c is a connection as type unmet says. One that has said junk counts only where the
// goroutine that accepts reads it too: otherwise another server may understand it.
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
	return !c.hasWritten.Load() || c.isTLS() // a handshake has two sides
}

// awaited tells whether a server may get c yet.
func (c *conn) awaited() bool {
	return c.state.Load() == 0 && !c.isClosed() && (!c.hasWritten.Load() || c.isTLS())
}
