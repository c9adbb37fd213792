package listener

import (
	"context"
	"maps"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// handshakeTime is how long a client may take for a TCP handshake that has begun when the last
// process lets go of a listening socket. It is the time of one round trip; tests on loopback need
// less.
var handshakeTime = 200 * time.Millisecond

// shut closes the listening sockets. With sweep, it accepts the clients in their queues: the next
// generation may have closed the sockets before this one does. With last, there is no next one. It
// waits for clients that are about to connect. The kernel refuses those that come later, so that
// they know that nothing of theirs was read. In the queue of a socket that a service manager holds,
// clients wait for the next process. The channel is closed when the sockets are. That takes until
// ctx is over where there are too few descriptors for the clients in a queue.
func (s *Set) shut(ctx context.Context, sweep, last bool) (done <-chan struct{}) {
	s.shuts.Lock()
	defer s.shuts.Unlock()
	defer s.shutOnce.Do(func() { close(s.isShut) })
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if sweep {
		s.awaitAdopts(ctx)
	}
	s.mu.Lock()
	sockets := slices.Collect(maps.Values(s.sockets))
	dying := slices.DeleteFunc(slices.Clone(sockets), func(so *socket) bool {
		if last {
			return s.stored[so.key] != ""
		}
		return !sweep || !slices.Contains(s.orphans, so.key)
	})
	hides := func(so *socket) bool { return !last && s.stored[so.key] == "" && sockopt.Hide(so.ln) }
	dropped := false
	for _, so := range dying {
		dropped = hides(so) || sockopt.DropHandshakes(so.ln) || dropped
	}
	s.mu.Unlock()
	if dropped {
		time.Sleep(handshakeTime)
	}
	for _, so := range dying {
		so.lastHolder.Store(true)
	}
	var starved []*socket
	for _, so := range sockets {
		if sweep && so.sweep() {
			starved = append(starved, so)
		} else {
			_ = so.close()
		}
	}
	if len(starved) == 0 {
		return closedChan
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.drainStarved(ctx, starved)
	}()
	return closed
}

// Shut returns a channel that is closed once Leave or Close has closed the listening sockets. Who connects from then on
// meets another process, or is refused.
func (s *Set) Shut() <-chan struct{} { return s.isShut }

// drainStarved accepts what waits in the queues of dying sockets as descriptors become free, and
// closes the sockets.
func (s *Set) drainStarved(ctx context.Context, sockets []*socket) {
	const again = 5 * time.Millisecond
	for _, so := range sockets {
		for ctx.Err() == nil && so.sweep() {
			select {
			case <-time.After(again):
			case <-ctx.Done():
			}
		}
		_ = so.close()
		if so.acceptedFile != nil {
			_ = so.acceptedFile.Close()
		}
	}
}

// spareFDs is how many descriptors a sweep leaves free where another process holds the socket, too:
// handlers need some.
const spareFDs = 16

// sweep takes what clients have connected already out of the kernel's queue, which may die with the
// socket. Nothing is accepted any more. It reports whether some are left for want of descriptors.
// Where another process holds the socket they are its own; where none does, they wait until it is
// called again: others end, and give theirs back.
func (so *socket) sweep() (left bool) {
	so.mu.Lock()
	if so.closed || !so.open {
		so.mu.Unlock()
		return false
	}
	first := !so.ending
	so.ending = true
	so.settleRest()
	so.interruptAccept()
	for so.accepting > 0 {
		so.cond.Wait()
	}
	so.mu.Unlock()
	dying := so.lastHolder.Load()
	if dying && first {
		sockopt.RefuseClients(so.ln)
	}
	now, most := sockopt.QueueLen(so.ln)
	release := func() {}
	if dying {
		now = most // those whose handshake is under way, too; no new client comes
	} else {
		var ok bool
		release, ok = sockopt.ReserveFDs(so.ln, spareFDs)
		defer func() { release() }()
		if !ok {
			so.set.starved(so.key, syscall.EMFILE)
			return false
		}
	}
	err := so.acceptFile()
	if err == nil {
		err = sockopt.AcceptQueued(so.ln, now, func(f *os.File) bool {
			so.acceptedFile = f
			err := so.acceptFile()
			if scarce(err) && !dying {
				release()
				release = func() {}
				err = so.acceptFile()
			}
			return err == nil
		})
	}
	if so.acceptedFile != nil {
		err = syscall.EMFILE
	}
	if scarce(err) {
		so.set.starved(so.key, err)
	}
	return dying && scarce(err)
}

// acceptFile makes Accept return the connection that a sweep has taken out of the queue. That takes
// one more descriptor for a moment. After an error it is to be called again.
func (so *socket) acceptFile() error {
	if so.acceptedFile == nil {
		return nil
	}
	nc, err := net.FileConn(so.acceptedFile)
	if scarce(err) {
		return err
	}
	_ = so.acceptedFile.Close()
	so.acceptedFile = nil
	if err != nil { // its client is gone
		return nil
	}
	so.mu.Lock()
	defer so.mu.Unlock()
	if so.closed {
		_ = nc.Close()
		return nil
	}
	so.queue = append(so.queue, so.newConn(nc))
	so.cond.Broadcast()
	return nil
}
