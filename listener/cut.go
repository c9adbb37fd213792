package listener

import (
	"sync"
	"time"
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
