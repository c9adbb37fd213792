package h2drain

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// drain is how a Conn comes to its end. It exists from Leave on: the Conn has a pointer to it, or
// nil.
//
// One PING is under way at a time. Only its acknowledgement counts, and only once.
type drain struct {
	f       *Conn
	due     atomic.Uint32 // the number of the PING to be sent next, 0 for none
	awaited atomic.Uint32 // the number of the PING that was sent and not acknowledged, 0 for none
	sent    atomic.Int64  // when that was, in Unix nanoseconds

	mu          sync.Mutex    // guards what follows; Conn.mu may be locked under it
	grace       time.Duration // the client's time for each step; shortened by hurry
	graceTimer  *time.Timer   // calls graceOver; stopped while no PING is under way
	pingTimer   *time.Timer   // calls queuePing; nil until the first PING has come back
	hurryTimer  *time.Timer   // calls hurryOver; nil without Hurry
	quietRounds int           // how many rounds in a row have brought no new stream
	lastStream  uint32        // the highest stream when the last PING came back
	closed      bool          // the connection is closed, no timer may start

	// As it was when graceTimer was set.
	at     time.Time // zero: it is stopped
	place  int64     // see Conn.place
	queued int       // bytes that the client had not received

	extra time.Duration // what a client that lives has had beyond the grace, since that was renewed
}

// pingPause is the least time between two PINGs, and QuietRounds how many rounds must bring nothing
// new. A goroutine of the client's that was about to send has that long. A client that takes long
// to answer a PING, being busy, has longer.
const (
	pingPause   = 50 * time.Millisecond
	QuietRounds = 3
)

// dueGrace is the grace where nothing presses.
const dueGrace = time.Minute

// A client that does not answer in time, but lives, has up to liveGraces graces, as long as these come to no more than
// liveMost. What it was about to send when it learned is lost otherwise, though its machine, its line or this process
// is merely busy. A longer grace is enough as it is.
const (
	liveGraces = 5
	liveMost   = 5 * time.Second
)

// Leave begins to end the connection. It does not wait for a client that does not answer a PING within grace, or goes
// on with new streams for as long. One that lives has more time, see liveGraces. Where this has begun already, the
// shorter grace holds. Leave may block as long as a client does not read.
func (f *Conn) Leave(grace time.Duration) {
	p := &drain{f: f, grace: grace}
	p.due.Store(1)
	p.mu.Lock()
	begun := f.drain.CompareAndSwap(nil, p)
	if begun {
		p.mark(grace) // before the timer can be over, see graceOver
		p.graceTimer = time.AfterFunc(grace, p.graceOver)
	}
	p.mu.Unlock()
	if !begun {
		f.drain.Load().shorten(grace)
		f.trySendPing() // the goroutine that has begun may not have come so far
		return
	}
	if f.closed.Load() {
		p.stop()
		return
	}
	f.trySendPing()
}

// Hurry ends the connection within grace, however many PINGs that takes.
func (f *Conn) Hurry(grace time.Duration) {
	f.Leave(grace)
	f.drain.Load().hurry(grace)
}

// shorten gives the client less grace for each step.
func (p *drain) shorten(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.grace = min(p.grace, grace)
	if !p.at.IsZero() && time.Until(p.at) > p.grace {
		p.watch()
	}
}

func (p *drain) hurry(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.f.ended.Load() {
		return
	}
	if p.hurryTimer != nil {
		p.hurryTimer.Stop()
	}
	p.hurryTimer = time.AfterFunc(grace, p.hurryOver)
}

// hurryOver is called when the time of Hurry is over.
func (p *drain) hurryOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && !p.f.ended.Load() {
		p.end()
	}
}

// currentGrace is how long a client may take now.
func (p *drain) currentGrace() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grace
}

// pongReceived is called by the reader when the awaited PING has come back; stream is the highest
// by then.
func (p *drain) pongReceived(stream uint32) {
	took := time.Since(time.Unix(0, p.sent.Load()))
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.awaited.Swap(0)
	if p.closed || n == 0 || p.f.ended.Load() {
		return
	}
	p.quietRounds++
	if n == 1 || stream != p.lastStream {
		p.quietRounds = 0
	}
	p.lastStream = stream
	if p.quietRounds == QuietRounds {
		p.end()
		return
	}
	// Each PING has the whole grace. The second round may bring what the client was about to send when it learned.
	renew := n <= 2 || p.quietRounds > 0
	if renew {
		p.graceTimer.Stop()
		p.at, p.extra = time.Time{}, 0
	}
	pause := max(pingPause, 2*min(took, p.grace))
	p.pingTimer = time.AfterFunc(pause, func() { p.queuePing(n+1, renew) })
}

// queuePing makes a PING due.
func (p *drain) queuePing(n uint32, renew bool) {
	p.mu.Lock()
	if p.closed || p.f.ended.Load() {
		p.mu.Unlock()
		return
	}
	p.due.Store(n)
	if renew {
		p.watch()
	}
	p.mu.Unlock()
	p.f.trySendPing()
}

// graceOver is called when a grace has passed: the server is to be told. If something has kept the
// server from being told for as long, or the client from taking what it said, the client is not
// waited for. Before that, one that lives has longer.
func (p *drain) graceOver() {
	p.mu.Lock()
	if p.at.IsZero() || time.Now().Before(p.at) { // it was renewed just then
		p.mu.Unlock()
		return
	}
	more := time.Duration(0)
	if !p.f.ended.Load() && p.lives() {
		more = min(p.grace, min(liveGraces*p.grace, liveMost)-p.grace-p.extra)
	}
	stuck := !p.closed && p.stuck() && (more <= 0 || sockopt.Unread(p.f.below.Socket()) == 0)
	switch {
	case p.closed:
	case stuck || p.f.below.IsClosed():
		p.halt()
	case more > 0:
		p.extra += more
		p.watchFor(more)
	default:
		p.end()
	}
	p.mu.Unlock()
	if stuck {
		p.f.below.Cut()
	}
}

// lives tells whether the client's host is there: then a process that is held up will answer. Something has come from
// it within the grace, or lies here unread, or its kernel has taken all that was written. The beginning of a frame that
// does not go on does not count.
func (p *drain) lives() bool {
	place, sock := p.f.place.Load(), p.f.below.Socket()
	return place != p.place || sockopt.Unread(sock) > 0 ||
		sockopt.SeesQueues && !h2frame.Inside(place) && sockopt.Unsent(sock) == 0
}

// end lets the server know, if it does not yet, and watches that it can be told.
func (p *drain) end() {
	p.f.tellServer()
	for _, t := range []*time.Timer{p.pingTimer, p.hurryTimer} {
		if t != nil {
			t.Stop()
		}
	}
	p.watch()
}

// watch gives the client another grace; when the server is told, a second at least, after which
// net/http closes.
func (p *drain) watch() {
	wait := p.grace
	if p.f.ended.Load() {
		wait = max(wait, lingerLeast)
	}
	p.watchFor(wait)
}

func (p *drain) watchFor(wait time.Duration) {
	p.mark(wait)
	p.graceTimer.Reset(wait)
}

func (p *drain) mark(wait time.Duration) {
	p.at, p.place, p.queued = time.Now().Add(wait), p.f.place.Load(), sockopt.Unsent(p.f.below.Socket())
}

// stuck tells whether the connection can be closed after a grace. Its client has begun a frame or a
// header block and sent nothing more, or does not read the server's GOAWAY. A client with a request
// under way is waited for, as is one that receives something.
func (p *drain) stuck() bool {
	place := p.f.place.Load()
	// A handler that has taken the connection can't answer before the client's first frame.
	if !p.f.below.AtRest() && place != h2frame.Unbegun {
		return false
	}
	queued := sockopt.Unsent(p.f.below.Socket())
	if queued != p.queued {
		return false
	}
	if p.f.told.Load() {
		return queued > 0
	}
	return h2frame.Inside(place) && place == p.place
}

// stop is for a connection that is closed.
func (p *drain) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halt()
}

func (p *drain) halt() {
	p.closed = true
	for _, t := range []*time.Timer{p.graceTimer, p.pingTimer, p.hurryTimer} {
		if t != nil {
			t.Stop()
		}
	}
}
