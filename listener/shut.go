package listener

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// handshake is how long a client may take for a TCP handshake that has begun when the last process lets go of a
// listening socket. It is the time of one round trip; tests on loopback need less.
var handshake = 200 * time.Millisecond

// shut closes the listening sockets. With sweep, it accepts the clients in their queues: the next
// generation may have closed the sockets before this one does. With last, there is no next one. It
// waits for clients that are about to connect. The kernel refuses those that come later, so that
// they know that nothing of theirs was read. In the queue of a socket that a service manager holds,
// clients wait for the next process. The channel is closed when the sockets are. That takes until
// ctx is over where there are too few descriptors for the clients in a queue.
func (s *Set) shut(ctx context.Context, sweep, last bool) (done <-chan struct{}) {
	s.shuts.Lock()
	defer s.shuts.Unlock()
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
			return s.held[so.key] != ""
		}
		return !sweep || !slices.Contains(s.orphans, so.key)
	})
	hides := func(so *socket) bool { return !last && s.held[so.key] == "" && sockopt.Hide(so.ln) }
	dropped := false
	for _, so := range dying {
		dropped = hides(so) || sockopt.DropHandshakes(so.ln) || dropped
	}
	s.mu.Unlock()
	if dropped {
		time.Sleep(handshake)
	}
	for _, so := range dying {
		so.dying.Store(true)
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
		s.feed(ctx, starved)
	}()
	return closed
}

// feed takes in what waits in the queues of dying sockets as descriptors become free, and closes the sockets.
func (s *Set) feed(ctx context.Context, sockets []*socket) {
	const again = 5 * time.Millisecond
	for _, so := range sockets {
		for ctx.Err() == nil && so.sweep() {
			select {
			case <-time.After(again):
			case <-ctx.Done():
			}
		}
		_ = so.close()
		if so.half != nil {
			_ = so.half.Close()
		}
	}
}
