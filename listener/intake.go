package listener

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// door is what an intake does with reads. It goes through these in order, or leaves some out.
type door int

const (
	waiting door = iota // lets them wait
	opened              // lets them go to the socket
	paused              // lets them wait again, for what may be in vain
	last                // lets one at a time go while there is something to read, until there is nothing
	over                // ends them
	closed              // and the socket is closed
)

// intake decides who may read from a packet socket.
type intake struct {
	set  *Set
	key  string
	pc   sockopt.PacketConn // closed by Close
	path string             // the file that this process has made; "" for none

	mu       sync.Mutex // guards what follows, and the read deadline of pc
	changed  sync.Cond  // door, inside or deadline; or the deadline is over
	door     door
	inside   int           // how many read from pc
	trying   bool          // one does so behind the last door
	left     chan struct{} // closed when none does; nil while nobody waits for that
	deadline time.Time     // as the user wants it
	timer    *time.Timer   // for reads that wait until then
	until    time.Time     // how long reads are the last ones, where newcomers can't be kept out
}

func newIntake(set *Set, key string, pc net.PacketConn, open bool) *intake {
	in := &intake{set: set, key: key, pc: pc.(sockopt.PacketConn)}
	in.changed.L = &in.mu
	if open {
		in.door = opened
	}
	return in
}

// read calls f, which reads from pc, when it may. Where that has ended because the door has changed, it asks anew.
func (in *intake) read(f func() error) error {
	for {
		if err := in.enter(); err != nil {
			return err
		}
		if err := f(); !in.leave(err) {
			return err
		}
	}
}

func (in *intake) enter() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.door != opened {
		switch {
		case in.door >= over:
			return in.failed(net.ErrClosed)
		case in.door == last && in.inside > 0:
		case in.door == last && sockopt.HasDatagram(in.pc) && (sockopt.SeesQueues || time.Now().Before(in.until)):
			_ = in.pc.SetReadDeadline(time.Now().Add(sockopt.LastReadWait))
			in.inside++
			in.trying = true
			return nil
		case in.door == last:
			in.move(over)
			continue
		case !in.deadline.IsZero() && !time.Now().Before(in.deadline):
			return in.failed(os.ErrDeadlineExceeded)
		}
		in.changed.Wait()
	}
	in.inside++
	return nil
}

func (in *intake) failed(err error) error {
	return &net.OpError{Op: "read", Net: in.pc.LocalAddr().Network(), Source: in.pc.LocalAddr(), Err: err}
}

// leave tells whether to ask again.
func (in *intake) leave(err error) (again bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inside--
	tried := in.trying
	in.trying = false
	if in.door == opened {
		return false
	}
	if in.inside == 0 && in.left != nil {
		close(in.left)
		in.left = nil
	}
	in.changed.Broadcast()
	if err == nil || !isTimeout(err) || in.door == closed {
		return false
	}
	if tried && !sockopt.SeesQueues {
		in.move(over)
	}
	return true
}

// move is for callers that hold mu.
func (in *intake) move(d door) (moved bool) {
	if d <= in.door {
		return false
	}
	in.door = d
	if d == last {
		in.until = time.Now().Add(time.Second)
	}
	in.changed.Broadcast()
	return true
}

// pass changes the door, unless it is there already or beyond, and returns when nobody reads under
// the old rule any more or ctx is over.
func (in *intake) pass(ctx context.Context, d door) {
	in.mu.Lock()
	if !in.move(d) || d <= opened || in.inside == 0 {
		in.mu.Unlock()
		return
	}
	_ = in.pc.SetReadDeadline(time.Unix(1, 0))
	if in.left == nil {
		in.left = make(chan struct{})
	}
	left := in.left
	in.mu.Unlock()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// resume undoes a pass to paused.
func (in *intake) resume() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.door == paused {
		in.door = opened
		_ = in.pc.SetReadDeadline(in.deadline)
		in.changed.Broadcast()
	}
}

func (in *intake) at(d door) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.door == d
}

// setReadDeadline leaves a deadline alone by which a reader is to be told of the door.
func (in *intake) setReadDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.deadline = t
	in.changed.Broadcast()
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	if in.door != opened && !t.IsZero() {
		in.timer = time.AfterFunc(time.Until(t), func() {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.changed.Broadcast()
		})
	}
	if in.door == waiting || in.door == opened || in.door == closed {
		return in.pc.SetReadDeadline(t)
	}
	return nil
}

// close removes the socket's file where nobody else does: tableflip does in the last process that was ever ready.
func (in *intake) close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	stillborn := in.door == waiting
	if in.move(closed) {
		in.set.forgetPackets(in)
		if in.path != "" && (in.set.fds == nil || stillborn) {
			_ = os.Remove(in.path)
		}
	}
	return in.pc.Close()
}

func (s *Set) forgetPackets(in *intake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packets[in.key] == in {
		delete(s.packets, in.key)
	}
}
