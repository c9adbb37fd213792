//go:build unix

package drain_test

import (
	"syscall"
	"testing"
	"time"
)

// Whoever follows the main generation's pid would end the older ones when it exits.
func TestStopWaitsForOlderGenerations(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung, MaxGenerations: 8}, withControl)
	one, openOne := s.slow("one")
	s.swap()
	two, openTwo := s.slow("two")
	r := s.swap()
	s.awaitOlder(2)
	answer := s.controlLater("stop")
	s.event(3, "waiting for older generations")
	st := s.mustControl("status")
	if len(st.Older) != 2 || st.Phase != "draining" || st.Open.Open() != 0 {
		t.Errorf("%+v", st)
	}
	s.wantPIDFile(r.PID)
	s.tell(r.PID, hup)
	s.wantGone(0)
	s.finishSlow(two, openTwo)
	_ = two.Close()
	s.event(3, "older generation is gone")
	s.finishSlow(one, openOne)
	_ = one.Close()
	s.wantAnswer(answer)
	s.wantNobody()
	s.wantExit(s.pgid, 0)
	s.wantGone(3)
	s.wantOrder(told(1, "stopped"), noted(3, "gone"), told(3, "stopped"))
	s.wantNothingLost()
}

func TestStopDoesNotWaitForOlderGenerationsForEver(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung}, withControl)
	c, open := s.slow("one")
	s.plan.DrainTimeout = 200 * time.Millisecond
	s.replan()
	s.swap()
	_, err := s.control("stop")
	s.wantWords(err, "DrainTimeout (200ms) is over: cut off nothing; older generations: 1 (pid ")
	s.event(1, "told to leave within") // it may still finish what it has
	s.finishSlow(c, open)
	_ = c.Close()
	s.gone()
	s.wantExit(s.pgid, 0)
}

func TestStopTwiceLeavesOlderGenerationsBehind(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung}, withControl)
	s.slow("one")
	r := s.swap()
	s.tell(r.PID, syscall.SIGTERM)
	s.event(2, "waiting for older generations")
	s.signal(r.PID, syscall.SIGTERM)
	s.wantIn(s.event(2, "cut off").Err, "asked twice: cut off nothing; older generations: 1 (pid")
	s.gone()
	s.wantExit(s.pgid, 1)
}

// The main generation need not know how an older one ends.
func TestStopWaitsForAnOlderGenerationThatIsKilled(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung}, withControl)
	s.slow("one")
	s.swap()
	answer := s.controlLater("stop")
	s.event(2, "waiting for older generations")
	s.signal(s.pgid, syscall.SIGKILL)
	s.wantAnswer(answer)
	s.gone()
}
