package h2drain

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
)

// move is a wish that the connection go to another process. That can be when no stream is open, the
// client is between two frames, and the server has said all that it has to say. The server says
// that it has no stream; a PING that it is given tells the rest: its acknowledgement follows
// everything else. The client does not get that. While it is awaited, nothing is read.
type move struct {
	asked  atomic.Bool   // the server has been given a PING
	pong   []byte        // how it acknowledges that; set before asked
	heard  chan struct{} // has a value when it has
	late   atomic.Bool   // the reader waits no more
	awaits bool          // the reader is to wait for it, and has read nothing since; the reader's
	once   sync.Once     // closes gone
	gone   chan struct{} // the connection is closed
}

// answerTime is how long the reader waits for the server, which a client that reads nothing stops.
const answerTime = time.Second

var errMoved = errors.New("the connection has moved to another process")

// Move makes f look for a moment in which it can go to another process, by Below.Offer. Leave ends
// that.
func (f *Conn) Move() {
	if f.closed.Load() || f.drain.Load() != nil || f.client == nil {
		return
	}
	if f.move.Load() == nil && !f.offered.Swap(true) {
		f.move.Store(&move{heard: make(chan struct{}, 1), gone: make(chan struct{})})
	}
	f.Rests()
}

// Rests is told that the server has no stream any more, or has no handler that runs.
func (f *Conn) Rests() {
	if f.move.Load() != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wakeLocked()
	}
}

// rests tells whether the server has nothing to do: a handler may go on when its stream is over.
func (f *Conn) rests() bool { return f.below.AtRest() && !f.below.Serves() }

// What the reader is to do now.
type moving int

const (
	readOn moving = iota
	asked         // there is something for the server
	moved         // end
)

// tryMove is called by the reader between two frames.
func (f *Conn) tryMove(m *move) moving {
	if f.drain.Load() != nil || f.ended.Load() || len(f.early) > 0 {
		return readOn
	}
	if m.awaits {
		if m.awaits = false; !m.hears() {
			return readOn
		}
		return f.offer()
	}
	if m.asked.Load() || !f.rests() { // an answer that is late tells nothing of what was read since
		return readOn
	}
	if !f.empty { // what lies above the socket is first to be read: from there, nothing goes along
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wakeLocked()
		return readOn
	}
	if !f.below.Whole() {
		return readOn
	}
	data := binary.BigEndian.AppendUint64(nil, rand.Uint64())
	m.pong = h2frame.Append(nil, h2frame.TypePing, h2frame.FlagAck, 0, data)
	select {
	case <-m.heard: // which came too late
	default:
	}
	m.awaits = true
	m.late.Store(false)
	m.asked.Store(true)
	f.extra = h2frame.Append(nil, h2frame.TypePing, 0, 0, data)
	return asked
}

// hears waits for the server's answer.
func (m *move) hears() bool {
	late := time.NewTimer(answerTime)
	defer late.Stop()
	select {
	case <-m.heard:
		return true
	case <-m.gone:
	case <-late.C:
		m.late.Store(true)
		select {
		case <-m.heard:
			return true
		default:
		}
	}
	return false
}

// offer offers the connection if it is settled. Meanwhile the server can't write.
func (f *Conn) offer() (what moving) {
	f.writing.Lock()
	defer func() {
		f.writing.Unlock()
		f.trySendPing()
	}()
	if f.broken != nil || f.failed || !f.out.Between() || f.drain.Load() != nil || !f.rests() {
		return readOn
	}
	s, ok := h2state.At(f.client, f.server, f.in.Last)
	if !ok && !h2state.Never(f.client, f.server, f.in.Last) {
		return readOn
	}
	if !ok || !f.below.Offer(s.Append(nil)) {
		f.move.Store(nil)
		return readOn
	}
	f.broken = errMoved
	return moved
}

// withhold is write while the server's answer to the PING is awaited, which it keeps from the client.
func (f *Conn) withhold(m *move, p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		if len(f.held) == 0 && !f.out.Begins() {
			k, passed := min(f.out.Room(), len(p)), 0
			passed, err = f.pass(p[:k])
			n, p = n+passed, p[passed:]
			continue
		}
		k := 0
		for k < len(p) && len(f.held)+k < len(m.pong) && p[k] == m.pong[len(f.held)+k] {
			k++
		}
		f.held, n = append(f.held, p[:k]...), n+k
		switch p = p[k:]; {
		case len(f.held) == len(m.pong):
			f.held = nil
			m.heard <- struct{}{}
			m.asked.Store(false) // the reader may ask again
			if m.late.Swap(false) {
				f.Rests()
			}
			if len(p) > 0 {
				k, err = f.pass(p)
				return n + k, err
			}
		case len(p) > 0: // another frame; what is held may go beyond its header
			k = max(0, min(f.out.Room()-len(f.held), len(p)))
			_, err = f.pass(append(f.held, p[:k]...))
			f.held, n, p = nil, n+k, p[k:]
		}
	}
	return n, err
}

func (m *move) closed() { m.once.Do(func() { close(m.gone) }) }
