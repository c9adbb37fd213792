//go:build unix

package drain_test

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fail ends the function of that name otherwise than by returning.
func (g *gen) fail(name string) {
	if g.fault("Goexit in " + name) {
		runtime.Goexit()
	}
	if g.fault("panic in " + name) {
		panic("a bug in the hook")
	}
}

// A hook that ends its goroutine is a hook that fails: nothing waits for it.
func TestGoexitBeforeReadyIsAnError(t *testing.T) {
	t.Parallel()
	t.Run("Ready at the start", func(t *testing.T) {
		t.Parallel()
		s := begin(t, plan{Fault: "Goexit in Ready"})
		s.wantEnd(1, "drain: Config.Ready: it did not return")
	})
	for _, name := range []string{"Ready", "Check"} {
		t.Run(name+" in a swap", func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{})
			l := s.drive(2, time.Millisecond)
			s.wantFailure(l, "Config."+name+": it did not return", func() {
				s.plan.Fault = "Goexit in " + name
				s.replan()
			})
			s.plan.Fault = ""
			s.replan()
			s.swap()
			l.end()
			s.stop()
		})
	}
}

// A hook of the main generation that panics is told of, and the service serves on, swaps, and stops.
func TestAHookThatDoesNotReturnEndsNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"panic", "Goexit"} {
		for _, hook := range []string{"Join", "Leave", "Gone"} {
			t.Run(how+" in "+hook, func(t *testing.T) {
				t.Parallel()
				s := start(t, plan{Fault: how + " in " + hook})
				l := s.drive(2, time.Millisecond)
				by := 2
				if hook == "Join" { // a later one may be over before it begins, when a pull comes
					by = 1
					s.event(1, "hook failed")
				}
				s.swap()
				s.signal(s.main().PID, syscall.SIGUSR2)
				s.event(2, "pulled")
				l.end()
				s.signal(s.main().PID, syscall.SIGTERM)
				if said := s.event(by, "hook failed").Err; !strings.Contains(said, "Config."+hook+": ") {
					t.Errorf("the error is %q", said)
				}
				s.gone()
				s.wantExit(s.pgid, 0)
				if r := s.event(2, "stopped"); r.Err != "" {
					t.Error(r)
				}
			})
		}
	}
}

// A function of Go that ends its goroutine has ended.
func TestGoexitInBackgroundWork(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Worker: true, Fault: "Goexit in Go"})
	s.noteSince(0, 0, "work begun")
	s.swap()
	s.event(1, "stopped")
	s.stop()
}
