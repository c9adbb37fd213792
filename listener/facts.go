package listener

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// The facts that a conn is made of, by what they are about. Any goroutine may look at an atomic. Of the others each
// type says which may: the reader is the goroutine that reads the connection, mu is conn's.

// input is what has been read, of which most is the reader's.
type input struct {
	sinceIdle   atomic.Bool        // bytes were read since the state became new or idle
	nextByte    atomic.Bool        // the first byte of the next request has been read
	lines       sniff.RequestLines // that were read
	head        sniff.Prefix       // what was read since the state became new or idle
	tail        sniff.Tail
	proxyHeader []byte // a part of a header of the PROXY protocol

	said     atomic.Int32    // what the client has said before a server got the connection, a sniff.Said
	greeting *sniff.Greeting // finds that out

	records     *sniff.Records // of TLS; set before speaks becomes secured
	inRecord    atomic.Bool    // a part of one has been read
	beforeLeave atomic.Bool    // one has come since the state became new or idle, before Leave
}

// serverRead is how the server reads data of TLS that are seen as they are decrypted. It is the reader's.
type serverRead struct {
	offered int  // how long the server's buffer is
	ahead   bool // see protocol.atRest
	moves   bool // what has been decrypted is at rest, too, see unsealed.atRest
	trims   bool // see skipLineEnds
}

// requests are those that the connection has brought.
type requests struct {
	count         atomic.Int32 // that have begun
	countsStreams atomic.Bool  // these are HTTP/2's, as their handlers begin
	bodyLength    atomic.Int64 // of the last one; -1: not known

	// Guarded by mu.
	serving request                   // of HTTP/1
	handled bool                      // a handler has begun since the state became new or idle, of HTTP/1
	streams map[*http.Request]request // of HTTP/2
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

// session is that of a handler which has hijacked the connection, see Session. It is guarded by mu.
type session struct {
	hijacked    bool
	handlerLeft bool     // the handler has returned
	ends        []func() // called by close
}

// wrapper is what a listener of the program's has put around the connection.
type wrapper struct {
	seen      atomic.Bool // the server sees another type (TLS, a limiter)
	hides     atomic.Bool // NetConn does not lead from it to the connection
	stateless atomic.Bool // the wrapper that hides it has no state of its own
}

// deadlines are the read deadlines, and what is known of them. But for known and reads, mu guards them.
type deadlines struct {
	known   atomic.Uint32 // see deadlineNone
	reads   atomic.Int32  // calls of Read that are under way
	calls   int           // how many were set since the state became new or idle
	user    time.Time     // as the user of the connection wants it
	inForce time.Time     // as Conn has it

	// Of a connection that was adopted idle, for its first request.
	headerTimeout time.Duration
	readTimeout   time.Duration // 0 for ever
	firstByteAt   time.Time     // when that request began; 0 once its deadline is set
}

// What is known of the read deadline without mu, by bits. To set one takes mu.
const (
	deadlineNone  uint32 = 1 << iota // it was cleared, and nothing has been read since
	deadlineAbort                    // net/http wants the read behind a handler's back to end
	deadlineSame                     // to clear it again changes nothing: net/http does, three times a request
)

// lose makes a bit 0.
func (d *deadlines) lose(bit uint32) {
	if d.known.Load()&bit != 0 {
		d.known.And(^bit)
	}
}

// none tells that there is none, and that nothing has been read since it was cleared.
func (d *deadlines) none() bool { return d.known.Load()&deadlineNone != 0 }

// aborted tells that net/http wants the read behind a handler's back to end.
func (d *deadlines) aborted() bool { return d.known.Load()&deadlineAbort != 0 }

// behind is a read behind a handler's back, see readBehind. It is guarded by mu.
type behind struct {
	over   sync.Cond // of held
	held   bool
	ticked bool            // the clock has ticked since
	tells  element[ticker] // what the clock has of it
	listed bool            // the clock has tells
}

// since tells for how long the client has been at what it does. It is guarded by mu.
type since struct {
	idle  instant // the state became new or idle, or the last answer arrived
	quiet instant // the same; under TLS, the last byte came
	begun instant // the client began what it has not finished
}

// closing is what a drainer knows of a connection that it is about to close. But for inHead, mu guards it.
type closing struct {
	inHead    atomic.Bool // it was closed in the middle of a request
	notBefore instant     // it is not closed earlier
	unsent    int         // bytes of the last answer that the client had not received
}

// moving is the connection's way to another process.
type moving struct {
	offered   atomic.Bool // another process may have it, or has
	done      atomic.Bool // another process has it
	postponed atomic.Bool // it has, and the server here is not told yet, see drainer.postpone
	declined  atomic.Bool // another process did not want it
	shared    atomic.Bool // another process may have a descriptor that it doesn't serve
	claimed   atomic.Bool // the drainer holds firstReader, and may let go of it
	byProgram bool        // the program hands it over, or has; guarded by mu
}

// adoption is how the connection came from another process, if it did.
type adoption struct {
	at    time.Time     // zero: it did not
	idle  atomic.Bool   // between two requests, and has not sent a byte here
	known chan struct{} // closed when the other process knows of it; nil: the connection is not of AdoptOwn

	dormant bool        // it came as a dormant.Conn, and Conn is one until a server gets it
	awake   atomic.Bool // of one that was dormant: Conn is what a server gets
	place   int         // guarded by sock.mu: where it is, or was, in sock.resting

	keyed bool                          // it came in the midst of TLS
	keys  atomic.Pointer[tlsmove.State] // those of TLS, until the server's listener has them, or close
}

// led is HTTP/2 that is led to its end.
type led struct {
	by    atomic.Pointer[h2drain.Conn] // what leads it; nil: it is no HTTP/2, or can't be led
	begun atomic.Bool                  // see onState
	moves atomic.Bool                  // it lies on the socket, or on the seal, and may move
}
