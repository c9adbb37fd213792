package listener

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/dormant"
	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// conn is a connection that knows whether a request can be under way on it.
type conn struct {
	net.Conn // closed by Close; of one that is dormant, guarded by firstReader and mu
	set      *Set
	sock     *socket

	state            atomic.Int32  // http.ConnState + 1; 0 where the server was not given to Track
	requests         atomic.Int32  // how many have begun
	readSinceIdle    atomic.Bool   // bytes were read since the state became new or idle
	wrapped          atomic.Bool   // the server sees another type around this one (TLS, a limiter)
	speaks           atomic.Int32  // plain, secured or framed, see protocol
	adoptedIdle      atomic.Bool   // adopted idle, has not sent a byte here
	moved            atomic.Bool   // another process has it
	released         atomic.Bool   // there is nothing to read any more
	deadline         atomic.Uint32 // see deadlineNone
	declined         atomic.Bool   // another process did not want it
	shared           atomic.Bool   // another process may have a descriptor that it doesn't serve
	hidden           atomic.Bool   // lies under a wrapper that doesn't lead to it by NetConn
	statelessWrapper atomic.Bool   // that wrapper has no state of its own
	foreign          bool          // Conn came through no socket of this set, see addForeign
	dialed           bool          // by Dial
	hasWritten       atomic.Bool   // by somebody here
	claimed          atomic.Bool   // the drainer holds firstReader, and may let go of it
	said             atomic.Int32  // what the client has said before a server got it, a sniff.Said

	clientClosed  atomic.Bool        // the client has closed it
	closedInHead  atomic.Bool        // it was closed in the middle of a request
	inRecord      atomic.Bool        // of TLS: a part of a record has been read
	heardBefore   atomic.Bool        // likewise: one has come since the state became new or idle, before Leave
	nextByteRead  atomic.Bool        // the first byte of the next request has been read
	http2Begun    atomic.Bool        // see onState
	http2Moves    atomic.Bool        // HTTP/2 that the server speaks lies on the socket, or on the seal
	countsStreams atomic.Bool        // requests counts HTTP/2's, as their handlers begin
	bodyLength    atomic.Int64       // how long the body of the last request is; -1: not known
	rejected      atomic.Bool        // the server has answered that what came is malformed
	lines         sniff.RequestLines // that were read
	head          sniff.Prefix       // what was read since the state became new or idle

	age age

	firstReader sync.Mutex      // held while somebody reads before a server got it, or a drainer decides
	greeting    *sniff.Greeting // the reader's
	tail        sniff.Tail      // the reader's
	proxyHeader []byte          // the reader's: a part of a header of the PROXY protocol

	resumed   *resumption                  // of HTTP/2 that goes on from another process; nil for others
	adoptedAt time.Time                    // zero: it was not
	dormant   bool                         // it was adopted as a dormant.Conn, and Conn is one until a server gets it
	awake     atomic.Bool                  // of one that was dormant: Conn is what a server gets
	place     int                          // guarded by sock.mu: where it is, or was, in sock.resting
	adoptDone chan struct{}                // closed when the other process knows that it is adopted; nil: it was not
	records   *sniff.Records               // set before speaks becomes secured; the reader's
	h2        atomic.Pointer[h2drain.Conn] // by which Leave ends an HTTP/2 connection
	talk      conversation                 // of a Followed, or nil; set before a server gets the connection

	taken    atomic.Pointer[tlsmove.State] // its keys, until the server's listener has it, or close
	keyed    bool                          // adopted in the midst of TLS
	seal     *seal                         // of a TLSListener's; set before a server gets the connection
	offered  int                           // then: how long the buffer is that the server offers; the reader's
	ahead    bool                          // likewise: see protocol.atRest
	movesNow bool                          // likewise: at rest, it is so in what the server has read, too
	trims    bool                          // likewise: see skipLineEnds

	mu             sync.Mutex // guards what follows, and the read deadline of Conn
	deadlineCalls  int        // how many read deadlines were set since the state became new or idle
	userDeadline   time.Time  // as the user of the connection wants it
	inForce        time.Time  // as Conn has it
	idleSince      instant    // when the state became new or idle, or the last answer arrived
	quietSince     instant    // the same; under TLS, when the last byte came
	begunAt        instant    // when the client began what it has not finished
	closeNotBefore instant    // while leaving
	unsent         int        // while leaving: bytes of the last answer that the client had not received
	closed         bool
	handingOver    bool                      // by the application, or was
	headerTimeout  time.Duration             // of one that was adopted idle, for its first request
	readTimeout    time.Duration             // the same; 0 for ever
	firstByteAt    time.Time                 // when that began; 0 once its deadline is set
	hijacked       bool                      // by a handler
	handlerLeft    bool                      // that handler has returned
	sessions       []func()                  // called by close, see Session
	serving        request                   // of HTTP/1
	handled        bool                      // a handler has begun since the state became new or idle, of HTTP/1
	streams        map[*http.Request]request // of HTTP/2
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
	if t.IsZero() && c.inForce.IsZero() {
		return nil
	}
	c.inForce = t
	c.loseDeadlineBit(deadlineSame)
	return c.Conn.SetReadDeadline(t)
}

// What is known of the read deadline without c.mu, by bits. To set one takes c.mu.
const (
	deadlineNone  uint32 = 1 << iota // it was cleared, and nothing has been read since
	deadlineAbort                    // net/http wants the read behind a handler's back to end
	deadlineSame                     // to clear it again changes nothing: net/http does, three times a request
)

func (c *conn) hasNoDeadline() bool { return c.deadline.Load()&deadlineNone != 0 }

// loseDeadlineBit makes a bit 0.
func (c *conn) loseDeadlineBit(bit uint32) {
	if c.deadline.Load()&bit != 0 {
		c.deadline.And(^bit)
	}
}

// asleep tells whether no server here has, or is about to have, c, which rests. Who holds firstReader keeps it so.
func (c *conn) asleep() bool { return c.dormant && !c.awake.Load() }

// wipeTaken is called where no server will get c, with mu held unless nobody else knows c.
func (c *conn) wipeTaken() {
	if s := c.taken.Swap(nil); s != nil {
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

// request is what the loss ledger says of a request that is cut off. It keeps net/http's strings,
// because handlers change the Request's.
type request struct {
	method, target string
	began          instant // 0: there is no request
}

func (q request) path() string {
	path, _, _ := strings.Cut(q.target, "?") // what follows may be secret
	const most = 200
	if len(path) > most {
		path = path[:most] + "…"
	}
	return path
}

func (c *conn) key() string {
	if c.sock == nil {
		return c.LocalAddr().Network() + " " + c.LocalAddr().String()
	}
	return c.sock.key
}

// inProcess tells whether the client is this process.
func (c *conn) inProcess() bool {
	return !c.dormant && c.Conn.RemoteAddr() != nil && c.Conn.RemoteAddr().Network() == "pipe"
}

func (c *conn) isHandingOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handingOver
}

// settled tells whether the server has set one read deadline since the connection is idle.
func (c *conn) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadlineCalls == 1
}

// secure records that the client speaks TLS.
func (c *conn) secure(r *sniff.Records) {
	c.records = r
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

func (c *conn) hasSaid() sniff.Said { return sniff.Said(c.said.Load()) }

// awaitClaim waits while a drainer that has claimed c decides whether to let it go.
func (c *conn) awaitClaim() {
	if c.claimed.Load() {
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
