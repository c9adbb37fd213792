package work

import (
	"testing"
	"testing/synctest"
)

// What ends when nothing hands in work any more, as an empty queue does, waits for tasks that may.
func TestWhatIsFedOutlivesWhatFeeds(t *testing.T) {
	for _, cut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g, over := NewGroup(errOver), make(chan struct{})
			g.Begin()
			g.Add(Task{F: func() { <-g.Fed().Done() }})
			g.Add(Task{Feeds: true, F: func() { <-over }})
			idle := g.Finish()
			synctest.Wait()
			if g.Fed().Err() != nil || !g.Add(Task{F: func() {}}) {
				t.Error("nothing can be handed in")
			}
			if cut {
				g.End()
				<-g.Fed().Done()
			}
			close(over)
			<-idle
		})
	}
}
