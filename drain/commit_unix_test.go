//go:build unix

package drain_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// The steps of a promotion at which either side is killed or halted. The package lifecycle goes through all of
// them; here are real processes. The old generation is halted when the new one is about to say that it is ready.

func TestNewKilledBeforeTheOldHearsThatItIsReady(t *testing.T) {
	s, child := stoppedAtReady(t, plan{UDP: true})
	s.signal(child, syscall.SIGKILL)
	s.signal(s.pgid, syscall.SIGCONT)
	s.wantBack("signal: killed")
}

// It has opened the doors, since it heard nothing, and its pid is in the PID file.
func TestNewKilledBeforeTheOldHearsThatItServes(t *testing.T) {
	s, child := stoppedAtReady(t, plan{}, withControl)
	s.event(2, "promoted")
	s.awaitPIDFile(child)
	s.kill(child)
	waiting := s.wait()
	s.signal(s.pgid, syscall.SIGCONT)
	s.wantBack("signal: killed")
	s.wantReceived(waiting, s.pgid)
}

func TestNewHaltedBeforeItServes(t *testing.T) {
	s, child := stoppedAtReady(t, plan{UDP: true})
	s.halt(child)
	s.signal(s.pgid, syscall.SIGCONT)
	l := s.drive(4, 4*time.Millisecond)
	s.wantIn(s.event(1, "swap failed").Err, "did not serve within 10s")
	l.end()
	s.wantServed(s.pgid)
}

func TestNewHaltedForAWhileBeforeItServes(t *testing.T) {
	s, child := stoppedAtReady(t, plan{})
	s.halt(child)
	s.signal(s.pgid, syscall.SIGCONT)
	l := s.drive(4, 4*time.Millisecond)
	for range 3 {
		s.tell(s.pgid, syscall.SIGUSR1) // it serves, and does what it is told
	}
	s.wantNone(0, "replaced")
	s.signal(child, syscall.SIGCONT)
	s.event(1, "replaced")
	l.end()
	s.wantServed(child)
}

// The new one waits for 15s, and opens the doors. The old one, which finds out late, drains into it,
// and what came to it meanwhile holds.
func TestOldHaltedWhileTheNewIsReady(t *testing.T) {
	s, child := stoppedAtReady(t, plan{SwapTimeout: 8 * time.Second})
	waiting := s.wait()
	s.event(2, "promoted")
	s.wantReceived(waiting, child)
	s.signal(s.pgid, syscall.SIGUSR2)
	s.signal(s.pgid, syscall.SIGCONT)
	s.event(1, "replaced")
	s.settled(drain.Pulled)
	s.awaitPIDFile(child)
	s.stop()
}

func TestStopWhileTheNewIsHalted(t *testing.T) {
	t.Parallel()
	halted := func(t *testing.T) (s *service, child int) {
		s, child = stoppedAtReady(t, plan{})
		s.halt(child)
		s.signal(s.pgid, syscall.SIGCONT)
		s.noteSince(0, s.pgid, "next generation is ready")
		s.tell(s.pgid, syscall.SIGTERM)
		return s, child
	}
	t.Run("goes on", func(t *testing.T) {
		s, child := halted(t)
		s.tell(s.pgid, syscall.SIGTERM) // impatience leaves nobody without a word
		s.signal(child, syscall.SIGCONT)
		s.event(2, "stopped")
		s.gone()
		s.wantExit(s.pgid, 0)
		s.noteSince(0, child, "exit 0")
	})
	t.Run("killed", func(t *testing.T) {
		s, child := halted(t)
		s.signal(child, syscall.SIGKILL)
		s.event(1, "swap failed")
		s.wantEnd(0, "")
	})
}

// A generation is halted while the next one takes over. It wakes when that one has handed over in turn and is gone.
// It was replaced all the same: it takes nothing back, and leaves alone what has its child's end of the link.
func TestOldHaltedUntilTheNewIsReplacedAndGone(t *testing.T) {
	eachOf(t, func(t *testing.T, _ int) { // the old generation finds out both at once
		s, child := stoppedAtReady(t, plan{DrainTimeout: hung}, withControl)
		waiting := s.wait()
		s.event(2, "promoted")
		s.wantReceived(waiting, child)
		_ = waiting.Close()
		third := s.swap()
		s.noteSince(0, child, "exit 0")
		s.awaitState(child, "Z") // its parent can't reap it
		s.signal(s.pgid, syscall.SIGCONT)
		s.wantExit(s.pgid, 0)
		s.event(3, "older generation is gone")
		s.wantNone(0, "swap failed")
		s.wantServed(third.PID)
	}, 1, 2, 3, 4, 5, 6, 7, 8)
}

// A new generation that was in time is not to be stopped because the old one looks at its clock late: nobody would be
// left.
func TestSwapTimeoutDuringPromotionLeavesSomebody(t *testing.T) {
	eachOf(t, func(t *testing.T, _ int) { // the old generation finds out both at once
		s, _ := stoppedAtReady(t, plan{SwapTimeout: 6 * time.Second})
		<-time.After(6 * time.Second) // not what decides: it makes the late look possible
		s.signal(s.pgid, syscall.SIGCONT)
		r := s.await(0, "an end of the swap", func(r record) bool {
			return r.Msg == "promoted" || r.Msg == "swap failed"
		})
		s.wantAlone(r.PID)
		if st := s.status(); st.PID != r.PID || st.Phase != drain.Ready {
			t.Errorf("%+v; want pid %d to be ready", st, r.PID)
		}
		s.wantPIDFile(r.PID)
		s.stop()
	}, 1, 2, 3, 4)
}
