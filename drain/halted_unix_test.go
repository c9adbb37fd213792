//go:build unix

package drain_test

import (
	"strconv"
	"syscall"
	"testing"
)

// A generation that is halted while the next one takes over, and wakes when that one has handed over in turn and is gone,
// was replaced all the same: it takes nothing back, and leaves what has its child's end of the link alone.
func TestOldHaltedUntilTheNewIsReplacedAndGone(t *testing.T) {
	t.Parallel()
	for i := range 8 { // the old generation finds out both at once
		t.Run(strconv.Itoa(i), func(t *testing.T) {
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
		})
	}
}
