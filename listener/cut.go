package listener

import (
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Closing a connection waits until the goroutines that read and write have let go of its
// descriptor. With a flood of work they may take long to get their turn, one connection after the
// other, while the owner of the set is to go on: many are closed at once, and after cutWait the
// rest goes on by itself.
const (
	cutLanes = 256
	cutWait  = time.Second
)

func (s *Set) cut(conns []*conn) {
	s.cutting.Store(true)
	over := make(chan struct{})
	go func() {
		defer close(over)
		var running sync.WaitGroup
		room := make(chan struct{}, cutLanes)
		for _, c := range conns {
			room <- struct{}{}
			running.Go(func() {
				_ = c.close(true)
				<-room
			})
		}
		running.Wait()
	}()
	wait := time.NewTimer(cutWait)
	defer wait.Stop()
	select {
	case <-over:
	case <-wait.C:
	}
}

const unservedLeast = time.Second

// dismiss closes what came through sockets on which nobody has ever called Accept, when the grace
// of a departure is over: a program may listen and never serve. One that is about to has a second.
func (s *Set) dismiss() {
	for _, c := range s.all() {
		if c.sock == nil || c.sock.asked.Load() {
			continue
		}
		if n := sockopt.Unread(c.Conn); n > 0 {
			if kind := c.kindOf(n); kind != "" {
				c.lose(Loss{Kind: kind, Unread: n})
			}
		}
		_ = c.close(false)
	}
}
