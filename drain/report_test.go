package drain

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/listener"
)

// reporting is the part of a generation that reports, with a loop.
func reporting(t *testing.T, send func(Peer)) *runner {
	r := &runner{
		inbox: newInbox(), set: listener.New(listener.Config{}), work: work.NewGroup(ErrDraining),
		os: &system{processes: osProcesses{}},
		state: machine.State{Setting: machine.Setting{Generation: 7}, Phase: machine.Draining, Since: time.Now(),
			Deadline: time.Now().Add(time.Hour)},
	}
	r.work.Begin()
	r.reports = beginReports(r.inbox, r.peer(), send)
	go func() {
		for {
			select {
			case e := <-r.events:
				r.heed(e)
			case <-r.ended:
				return
			}
		}
	}()
	return r
}

// job begins background work.
func (r *runner) job(f func()) { r.work.Add(work.Task{Name: "job", F: f}) }

// end ends the loop, and sends the last report.
func (r *runner) end() {
	close(r.ended)
	synctest.Wait()
	r.state.Phase = machine.Stopped
	r.reports.close(r.peer())
}

func TestReportsAreOneASecondAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []Peer
		var at []time.Time
		s := reporting(t, func(p Peer) { got, at = append(got, p), append(at, time.Now()) })
		time.Sleep(time.Minute) // nothing changes
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("reports say what was told: %+v", got)
		}
		over := make(chan struct{})
		for range 100 {
			s.job(func() { <-over })
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(got); n < 9 || got[n-1].Tasks != 100 {
			t.Fatalf("%d reports in ten seconds: %+v", n, got)
		}
		if first := got[0]; first.Generation != 7 || first.Phase != Draining || !first.Deadline.After(at[0]) {
			t.Errorf("the first report is %+v", first)
		}
		for i := 1; i < len(at); i++ {
			if at[i].Sub(at[i-1]) < time.Second {
				t.Errorf("reports at %v and %v", at[i-1], at[i])
			}
		}
		close(over)
		synctest.Wait()
		s.end()
		synctest.Wait()
		if last := got[len(got)-1]; last.Phase != Stopped || last.Tasks != 0 {
			t.Errorf("the last report is %+v", last)
		}
	})
}

// A main generation that is halted holds up neither the work of an older one nor its end.
func TestReportsDoNotWaitForWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		halted := make(chan struct{})
		s := reporting(t, func(Peer) { <-halted })
		begun := time.Now()
		for range 10 {
			s.job(func() {})
			s.job(func() { <-halted })
			time.Sleep(reportBusy)
		}
		s.end()
		if took := time.Since(begun); took > 10*reportBusy+2*lastWords {
			t.Errorf("it took %v", took)
		}
		close(halted)
	})
}
