// Package dgram gates the reads of packet sockets, so that one process at a time reads from a
// socket that several have.
package dgram

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// State is what a Gate does with reads. It goes through these in order, or leaves some out.
type State int

// The states of a Gate.
const (
	Held     State = iota // lets reads wait
	Open                  // lets them go to the socket
	Paused                // lets them wait again, for what may be in vain
	Draining              // lets one at a time go while there is something to read, until there is nothing
	Ended                 // ends them with net.ErrClosed
	closed                // and the socket is closed
)

// Gate decides when this process may read from a packet socket.
type Gate struct {
	cfg Config
	pc  sockopt.PacketConn // closed by Close

	mu       sync.Mutex // guards what follows, and the read deadline of pc
	changed  sync.Cond  // state, inside or deadline; or the deadline is over
	state    State
	inside   int           // how many read from pc
	trying   bool          // one does so while the gate drains
	left     chan struct{} // closed when none does; nil while no Pass waits for that
	deadline time.Time     // as the user wants it
	timer    *time.Timer   // for reads that wait until then
	until    time.Time     // how long the gate drains, where newcomers can't be kept out
}

// Config is what a Gate is made of. The zero value is that of a socket without a file, at a gate
// that is held.
type Config struct {
	Path        string      // the socket's file, if this process has made it; "" for none
	RemovesFile bool        // closing removes it in any state; otherwise only if the gate was never opened
	Open        bool        // the gate is open from the beginning
	Closing     func(*Gate) // called once, by the first Close, under the Gate's lock; nil for none
}

// New returns the Gate of pc, a *net.UDPConn or a *net.UnixConn, which is closed by Close.
func New(pc net.PacketConn, cfg Config) *Gate {
	g := &Gate{cfg: cfg, pc: pc.(sockopt.PacketConn)}
	g.changed.L = &g.mu
	if cfg.Open {
		g.state = Open
	}
	return g
}

// Socket is the socket itself, past the gate. It is not the caller's to close.
func (g *Gate) Socket() sockopt.PacketConn { return g.pc }

// Readers is how many reads are under way on the socket.
func (g *Gate) Readers() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

// read calls f, which reads from pc, when it may. Where that has ended because the state has
// changed, it asks again.
func (g *Gate) read(f func() error) error {
	for {
		if err := g.enter(); err != nil {
			return err
		}
		if err := f(); !g.leave(err) {
			return err
		}
	}
}

func (g *Gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.state != Open {
		switch {
		case g.state >= Ended:
			return g.failed(net.ErrClosed)
		case g.state == Draining && g.inside > 0:
		case g.state == Draining && sockopt.HasDatagram(g.pc) && (sockopt.SeesQueues || time.Now().Before(g.until)):
			_ = g.pc.SetReadDeadline(time.Now().Add(sockopt.LastReadWait))
			g.inside++
			g.trying = true
			return nil
		case g.state == Draining:
			g.move(Ended)
			continue
		case !g.deadline.IsZero() && !time.Now().Before(g.deadline):
			return g.failed(os.ErrDeadlineExceeded)
		}
		if g.timer == nil && !g.deadline.IsZero() {
			g.timer = time.AfterFunc(time.Until(g.deadline), func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.changed.Broadcast()
			})
		}
		g.changed.Wait()
	}
	g.inside++
	return nil
}

func (g *Gate) failed(err error) error {
	return &net.OpError{Op: "read", Net: g.pc.LocalAddr().Network(), Source: g.pc.LocalAddr(), Err: err}
}

// leave tells whether to ask again.
func (g *Gate) leave(err error) (again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	tried := g.trying
	g.trying = false
	if g.state == Open { // it may be so again, after a pause that has ended the read
		own := !g.deadline.IsZero() && !time.Now().Before(g.deadline)
		return errors.Is(err, os.ErrDeadlineExceeded) && !own
	}
	if g.inside == 0 && g.left != nil {
		close(g.left)
		g.left = nil
	}
	g.changed.Broadcast()
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || g.state == closed {
		return false
	}
	if tried && !sockopt.SeesQueues {
		g.move(Ended)
	}
	return true
}

// move is for callers that hold mu.
func (g *Gate) move(to State) (moved bool) {
	if to <= g.state {
		return false
	}
	g.state = to
	if to == Draining {
		g.until = time.Now().Add(time.Second)
	}
	g.changed.Broadcast()
	return true
}

// Pass changes the state, unless it is there already or beyond, and returns when no goroutine reads under
// the old rule any more or ctx is over.
func (g *Gate) Pass(ctx context.Context, to State) {
	g.mu.Lock()
	if !g.move(to) || g.inside == 0 { // none reads under a gate that is held
		g.mu.Unlock()
		return
	}
	_ = g.pc.SetReadDeadline(time.Unix(1, 0))
	if g.left == nil {
		g.left = make(chan struct{})
	}
	left := g.left
	g.mu.Unlock()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// Resume undoes a Pass to Paused.
func (g *Gate) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Paused {
		g.state = Open
		_ = g.pc.SetReadDeadline(g.deadline)
		g.changed.Broadcast()
	}
}

// At tells whether the Gate is in a state.
func (g *Gate) At(state State) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == state
}

// setReadDeadline leaves a deadline alone by which a reader is to be told of the state.
func (g *Gate) setReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadline = t
	g.changed.Broadcast()
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if g.state == Held || g.state == Open || g.state == closed {
		return g.pc.SetReadDeadline(t)
	}
	return nil
}

// Close closes the socket, and removes its file where no other code does, see Config.RemovesFile.
func (g *Gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	stillborn := g.state == Held
	if g.move(closed) {
		if g.cfg.Closing != nil {
			g.cfg.Closing(g)
		}
		if g.cfg.Path != "" && (g.cfg.RemovesFile || stillborn) {
			_ = os.Remove(g.cfg.Path)
		}
	}
	return g.pc.Close()
}
