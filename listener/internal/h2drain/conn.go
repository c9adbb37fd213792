// Package h2drain ends connections of HTTP/2 without losing a request, from between the server and
// the wire.
package h2drain

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Conn is the plaintext of an HTTP/2 connection, between the server and the wire. It ends the
// connection the way RFC 9113, 6.8 recommends. net/http does not: its only GOAWAY names the last
// stream that it has read. What the client has sent since is thrown away, and clients can't repeat a
// POST whose body they no longer have.
//
// While leaving, the client is first told to begin nothing new, by a GOAWAY that still lets
// everything pass. A PING behind it comes back after all that the client had begun before it knew.
// Go's client may yet send the head of one request that it was about to send: PINGs are repeated,
// with a pause, until some rounds have brought no new stream. Only then the server is told, by a
// GOAWAY that it takes for the client's: it finishes what it has, says its own GOAWAY and closes.
type Conn struct {
	net.Conn        // a *tls.Conn, or what the server has accepted
	below    Below  // Conn leads to it
	early    []byte // what net/http had read when a handler took the connection; the reader's

	writing sync.Mutex // held during a write; guards what follows
	out     h2frame.Scanner
	broken  error // of a write of our own: it is not known how much of it the client has got
	failed  bool  // a write of the server's has

	drain  atomic.Pointer[drain] // nil until leave
	move   atomic.Pointer[move]  // nil until Move, and when it is no longer tried
	client *h2state.Half         // what the client has said, nil where it can't move; the reader's
	server *h2state.Half         // and the server; guarded by writing
	held   []byte                // a part of an answer to the server's reader, see move; guarded by writing

	opening atomic.Pointer[opening] // nil unless the connection goes on from elsewhere, and until it does
	offered atomic.Bool             // Move was called

	in       h2frame.Scanner // the reader's, as extra
	extra    []byte          // what is to be read next
	glanced  int             // what was read since the server is to be told; the reader's
	place    atomic.Int64    // where the reader is, as in.place says
	empty    bool            // all that has come above the socket was read, but for a part of a record; the reader's
	notHTTP2 atomic.Bool     // it is no HTTP/2: everything passes

	mu       sync.Mutex // guards what follows, the read deadline of Conn, and end's becoming true
	deadline time.Time  // as the server wants it
	waking   bool       // the deadline of Conn is over, so that a Read ends
	ended    atomic.Bool
	told     atomic.Bool // the server has been, after ended

	closed    atomic.Bool
	Lingers   atomic.Bool    // was closed behind a GOAWAY
	lingering sync.WaitGroup // of a close that lingers
}

// Below is the connection of the listener's that a Conn lies over.
type Below interface {
	CloseWrite() error
	IsClosed() bool
	Cut()             // closes it, which a Close that lingers does not undo
	AtRest() bool     // no stream is open, as far as the server says
	Whole() bool      // between the socket and the Conn lies no part of a record
	Serves() bool     // a handler runs
	NotHTTP2()        // what the client says is no HTTP/2
	Due() bool        // reports true once, when the connection is to be left without a Leave
	Socket() net.Conn // of the kernel

	// Offer has another process take the connection, with a state that h2state.Parse reads.
	Offer(state []byte) (took bool)
}

// New wraps nc, which is below or lies over it. Ahead is how many bytes of the client's preface are
// yet to be read. Early is what has been read of nc and is to be read again. Seen is what the server
// has got already. Moves tells whether the connection may go to another process: for that, what both
// sides send is followed.
func New(nc net.Conn, below Below, moves bool, ahead int, early, seen []byte) *Conn {
	f := &Conn{Conn: nc, below: below, early: early, in: h2frame.Scanner{Preface: ahead}}
	if moves {
		f.watch(h2state.NewHalf(true), h2state.NewHalf(false))
	}
	f.follow(seen)
	return f
}

func (f *Conn) watch(client, server *h2state.Half) {
	f.client, f.server = client, server
	f.in.Watch, f.out.Watch = client, server
}

// NetConn returns the connection that f wraps.
func (f *Conn) NetConn() net.Conn { return f.Conn }

// Write implements net.Conn.
func (f *Conn) Write(p []byte) (int, error) {
	if f.drain.Load() == nil && !f.notHTTP2.Load() && f.below.Due() {
		f.Leave(dueGrace)
	}
	f.writing.Lock()
	if f.broken != nil {
		f.writing.Unlock()
		return 0, f.broken
	}
	n, err := f.write(p)
	f.sendPing()
	f.writing.Unlock()
	f.trySendPing() // another goroutine that had something to say meanwhile did not wait
	return n, err
}

// write is called with writing held.
func (f *Conn) write(p []byte) (n int, err error) {
	if o := f.opening.Load(); o != nil {
		rest := o.hear(f, p)
		if len(rest) == 0 {
			return len(p), f.broken
		}
		n, err = f.pass(rest)
		return len(p) - len(rest) + n, err
	}
	if m := f.move.Load(); m != nil && m.asked.Load() {
		return f.withhold(m, p)
	}
	return f.pass(p)
}

func (f *Conn) pass(p []byte) (n int, err error) {
	n, err = f.Conn.Write(p)
	f.out.Scan(p[:n])
	f.failed = f.failed || err != nil
	return n, err
}

// sendPing sends the PING that is due, if it can be sent now. It must follow the server's first
// frame, which has to be SETTINGS. It is of no use after a GOAWAY of the server's own.
func (f *Conn) sendPing() {
	p := f.drain.Load()
	if p == nil || p.due.Load() == 0 || !f.out.Settings || !f.out.Between() || f.broken != nil || f.notHTTP2.Load() {
		return
	}
	n := p.due.Swap(0)
	if n == 0 || f.out.GoneAway {
		return
	}
	words := h2frame.Ping(n)
	if n == 1 {
		words = append(h2frame.GoAway(h2frame.MaxStream), words...)
	}
	p.sent.Store(time.Now().UnixNano())
	p.awaited.Store(n)
	_, f.broken = f.Conn.Write(words)
}

// trySendPing is sendPing for a goroutine that does not write. A goroutine that writes tries again
// at the end, however long that takes.
func (f *Conn) trySendPing() {
	if p := f.drain.Load(); p != nil && p.due.Load() != 0 && f.writing.TryLock() {
		f.sendPing()
		f.writing.Unlock()
	}
}

// Close implements net.Conn. It does not wait: see linger.
func (f *Conn) Close() error {
	if f.closed.Swap(true) {
		if f.Lingers.Load() {
			return nil
		}
		return f.Conn.Close()
	}
	o := f.opening.Load()
	said := o != nil && o.end(f)
	if m := f.move.Load(); m != nil {
		m.closed()
	}
	grace := func() time.Duration { return lingerLeast }
	if p := f.drain.Load(); p != nil {
		p.stop()
		said = said || f.ended.Load() && f.done()
		grace = func() time.Duration { return max(p.currentGrace(), lingerLeast) }
	}
	if !said {
		return f.Conn.Close()
	}
	f.Lingers.Store(true)
	f.lingering.Go(func() { f.linger(grace) })
	return nil
}

// done tells whether the server has said its own GOAWAY, and nothing that was written has failed.
func (f *Conn) done() bool {
	if !f.writing.TryLock() {
		return false
	}
	defer f.writing.Unlock()
	return f.broken == nil && f.out.GoneAway && f.out.Between()
}

// linger ends the connection when the client has all that was written. A server closes a second
// after it has written its last frame. The kernel may still have that, and would throw it away when
// the next frame of the client's arrives; clients that are slow to read send many. A client that
// takes nothing for its grace is given up, and what it sends is not read. conn.close ends the wait.
func (f *Conn) linger(grace func() time.Duration) {
	if tc, ok := f.Conn.(interface{ CloseWrite() error }); ok { // of TLS
		_ = tc.CloseWrite()
	}
	_ = f.below.CloseWrite()
	sockopt.AwaitReceived(f.below.Socket(), grace, f.below.IsClosed)
	_ = f.Conn.Close()
}

// lingerLeast is what a client that takes nothing has, as net/http gives to clients that have not
// read its GOAWAY.
const lingerLeast = time.Second

// Wait returns when a close that lingers is over.
func (f *Conn) Wait() { f.lingering.Wait() }
