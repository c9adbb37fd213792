package drain

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// A disk that does not answer does not hold up the loop for long.
func TestSoonDoesNotWaitForASlowDisk(t *testing.T) {
	t.Parallel()
	answers, placed := make(chan struct{}), make(chan struct{})
	if soon(func() { <-answers; close(placed) }) {
		t.Error("it has returned before the disk has answered")
	}
	close(answers)
	<-placed
}

// A disk that does not answer while the service starts holds up neither a question nor a stop.
func TestADiskThatHangsAtTheStart(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("it answers at last: %v", answers), func(t *testing.T) {
			t.Parallel()
			preparing, disk := make(chan struct{}), make(chan struct{})
			var ended atomic.Bool
			s, _ := alone(t, machine.Starting, func(r *runner) {
				r.state = machine.New(machine.Setting{Generation: 1, DrainTimeout: time.Minute}, time.Now())
				r.parts = parts{{
					prepare: func() error { close(preparing); <-disk; return nil },
					end:     func(ending) { ended.Store(true) },
				}}
			})
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			result := make(chan error, 1)
			go func() { result <- s.Run(ctx) }()
			<-preparing
			if st := s.Status(); st.Phase != Starting {
				t.Errorf("%v; want starting", st)
			}
			stop()
			for s.Status().Phase != Stopped {
			}
			if answers {
				close(disk)
			} else {
				defer close(disk)
			}
			if err := <-result; err != nil || ended.Load() != answers {
				t.Errorf("Run returns %v, the parts have ended: %v; want nil, %v", err, ended.Load(), answers)
			}
		})
	}
}

// Nor does one that does not answer at the end: the service ends, and answers until then.
func TestADiskThatHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("it answers: %v", answers), func(t *testing.T) {
			t.Parallel()
			begun, disk := make(chan struct{}), make(chan struct{})
			defer close(disk)
			s, _ := alone(t, machine.Ready, func(r *runner) {
				r.parts = parts{{end: func(ending) {
					close(begun)
					if answers {
						return
					}
					<-disk
				}}}
			})
			go s.endTest()
			<-begun
			if st := s.Status(); st.Phase != Stopped {
				t.Errorf("%v; want stopped", st.Phase)
			}
			<-s.run.over
		})
	}
}
