package drain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/listener"
)

// draining is the part of a service that reports, with a loop.
func draining(t *testing.T) *Service {
	s := &Service{
		phase: Draining, since: time.Now(), generation: 7, deadlineAt: time.Now().Add(time.Hour),
		set:  listener.New(nil, nil),
		work: work.NewGroup(ErrDraining), farewell: work.NewFarewell(ErrDraining), calls: make(chan func()), ended: make(chan struct{}),
	}
	s.work.Begin()
	go func() {
		defer close(s.ended)
		for s.phase != Stopped {
			(<-s.calls)()
		}
	}()
	t.Cleanup(func() { s.call(func() { s.phase = Stopped }) })
	return s
}

func TestReportsAreOneASecondAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := draining(t)
		var got []Peer
		var at []time.Time
		s.call(func() {
			s.beginReports(func(p Peer) { got, at = append(got, p), append(at, time.Now()) })
		})
		synctest.Wait()
		if len(got) != 1 || got[0].Generation != 7 || got[0].Phase != Draining || !got[0].Deadline.After(at[0]) {
			t.Fatalf("the first report is %+v", got)
		}
		time.Sleep(time.Minute) // nothing changes
		synctest.Wait()
		if len(got) != 1 {
			t.Errorf("%d reports say the same", len(got))
		}
		over := make(chan struct{})
		for range 100 {
			_ = s.Go("job", func(context.Context) { <-over })
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(got); n < 9 || got[n-1].Tasks != 100 {
			t.Errorf("%d reports in ten seconds, the last is %+v", n, got[n-1])
		}
		for i := 1; i < len(at); i++ {
			if at[i].Sub(at[i-1]) < time.Second {
				t.Errorf("reports at %v and %v", at[i-1], at[i])
			}
		}
		close(over)
		synctest.Wait()
		s.call(func() {
			s.phase = Stopped
			s.reports.close(s.peer())
		})
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
		s := draining(t)
		halted := make(chan struct{})
		s.call(func() { s.beginReports(func(Peer) { <-halted }) })
		begun := time.Now()
		for range 10 {
			_ = s.Go("job", func(context.Context) {})
			_ = s.Go("job", func(context.Context) { <-halted })
			time.Sleep(reportBusy)
		}
		s.call(func() {
			s.phase = Stopped
			s.reports.close(s.peer())
		})
		if took := time.Since(begun); took > 10*reportBusy+2*lastWords {
			t.Errorf("it took %v", took)
		}
		close(halted)
	})
}
