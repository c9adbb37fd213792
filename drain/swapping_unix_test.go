//go:build unix

package drain_test

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// swapping starts a service under load and brings it into a swap, in which the next generation waits in Config.Ready
// until open is called. The generations after it don't.
func swapping(t testing.TB) (s *service, l *load, open func()) {
	t.Helper()
	s = start(t, plan{})
	l = s.drive(4, 4*time.Millisecond)
	return s, l, s.beginSwap("in Ready")
}

// beginSwap begins a swap to a generation that waits at that step until open is called.
func (s *service) beginSwap(at string) (open func()) {
	s.Helper()
	atGate(at)(s, nil)
	open = s.opener(s.plan.Gate)
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGHUP)
	s.noteSince(mark, 0, "at the gate")
	s.plan.Fault, s.plan.Gate = "", ""
	s.replan()
	return open
}

func (s *service) status() (st drain.Status) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.do("status")), &st); err != nil {
		s.Fatal(err)
	}
	return st
}

func TestSwappingPassesHUPOnOnce(t *testing.T) {
	t.Parallel()
	s, l, open := swapping(t)
	for range 3 {
		s.tell(s.pgid, syscall.SIGHUP)
	}
	open()
	s.event(2, "promoted")
	s.event(3, "promoted")
	l.end()
	s.wantAlone(s.main().PID)
	if st := s.status(); st.Generation != 3 || st.Phase != drain.Ready || st.Swaps != 0 {
		t.Errorf("%+v; want the third generation, and it to be the last", st)
	}
	s.stop()
}

func TestSwappingRunsHUPItselfAfterAFailure(t *testing.T) {
	t.Parallel()
	s, l, open := swapping(t)
	mark := s.mark()
	s.tell(s.pgid, syscall.SIGHUP)
	child := s.event(2, "starting")
	s.signal(child.PID, syscall.SIGKILL)
	s.eventSince(mark, 1, "swap failed")
	s.eventSince(mark, 1, "swap begun")
	s.eventSince(mark, 2, "promoted")
	_ = open
	l.end()
	s.stop()
}

func TestSwappingPassesUSR2On(t *testing.T) {
	t.Parallel()
	s, l, open := swapping(t)
	s.signal(s.pgid, syscall.SIGUSR2)
	if r := s.event(1, "pulled"); r.Phase != drain.Swapping {
		t.Error(r)
	}
	s.wantPing(501)
	open()
	if r := s.event(2, "pulled"); r.Phase != drain.Pulled {
		t.Error(r)
	}
	s.wantPing(501)
	l.end()
	s.stop()
}

func TestSwappingIsPulledAfterAFailure(t *testing.T) {
	t.Parallel()
	s, l, _ := swapping(t)
	mark := s.mark()
	s.tell(s.pgid, syscall.SIGUSR2)
	s.signal(s.event(2, "starting").PID, syscall.SIGKILL)
	if r := s.eventSince(mark, 1, "swap failed"); r.Phase != drain.Pulled {
		t.Error(r)
	}
	s.wantPing(501)
	mark = s.mark()
	s.signal(s.pgid, syscall.SIGUSR1)
	if r := s.eventSince(mark, 1, "restored"); r.Phase != drain.Ready {
		t.Error(r)
	}
	s.swap()
	s.wantPing(200)
	l.end()
	s.stop()
}

func TestSwappingIsRestored(t *testing.T) {
	t.Parallel()
	s, l, open := swapping(t)
	s.tell(s.pgid, syscall.SIGUSR1)
	s.wantNone(0, "restored while swapping")
	s.tell(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled while swapping") // the signal is logged before it is heeded
	s.wantPing(501)
	s.tell(s.pgid, syscall.SIGUSR1)
	if r := s.event(1, "restored"); r.Phase != drain.Swapping {
		t.Error(r)
	}
	s.wantPing(200)
	open()
	s.event(2, "promoted")
	s.wantPing(200)
	s.wantNone(0, "pulled")
	l.end()
	s.stop()
}

func TestSwappingStopsChildAndService(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{})
			c, open := s.slow("slow")
			s.beginSwap("in Ready")
			s.signal(s.pgid, sig)
			if r := s.event(1, "swap failed"); !strings.Contains(r.Err, "the service is to stop") {
				t.Error(r)
			}
			s.event(1, "draining")
			s.finishSlow(c, open)
			s.wantEnd(0, "")
		})
	}
}

func TestSwappingKillsAChildThatDoesNotStop(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	s.plan.Fault = "hang at start"
	s.replan()
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.noteSince(mark, 0, "begun")
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "swap failed")
	s.wantEnd(0, "")
}

func TestSwappingStopsDuringPreflight(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"hang in Preflight", "deaf in Preflight"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{SwapTimeout: time.Hour})
			s.plan.Fault = fault
			s.replan()
			s.signal(s.pgid, syscall.SIGHUP)
			s.noteSince(0, 0, "preflight hangs")
			s.signal(s.pgid, syscall.SIGTERM)
			s.event(1, "swap failed")
			s.wantEnd(0, "")
		})
	}
}

func TestSwappingTwiceTermKillsTheChild(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	s.slow("slow")
	s.plan.Fault = "hang at start"
	s.replan()
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.noteSince(mark, 0, "begun")
	s.tell(s.pgid, syscall.SIGTERM)
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
}

// An operator's signals may come to a new generation between its saying that it is ready and the old one's letting go.
func TestSignalsBetweenReadyAndPromotion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sig  syscall.Signal
		want func(*service)
	}{
		{syscall.SIGUSR2, func(s *service) { s.event(2, "pulled") }},
		{syscall.SIGHUP, func(s *service) { s.event(3, "promoted") }},
		{syscall.SIGTERM, func(s *service) { s.event(2, "promoted"); s.event(2, "draining") }},
	} {
		t.Run(c.sig.String(), func(t *testing.T) {
			t.Parallel()
			s, child := stoppedAtReady(t, plan{})
			s.tell(child, c.sig)
			s.signal(s.pgid, syscall.SIGCONT)
			c.want(s)
			if c.sig != syscall.SIGTERM {
				s.stop()
			}
			s.wantEnd(0, "")
		})
	}
}

// stoppedAtReady starts a service whose first generation is halted while the second tells it that it is ready.
func stoppedAtReady(t testing.TB, p plan, tweaks ...func(*service, *exec.Cmd)) (s *service, child int) {
	t.Helper()
	s = start(t, p, tweaks...)
	open := s.beginSwap("in Ready")
	s.halt(s.pgid)
	open()
	child = s.event(2, "proven").PID
	return s, child
}

// A new generation that was in time is not to be stopped because the old one looks at its clock late: nobody would be
// left.
func TestSwapTimeoutDuringPromotionLeavesSomebody(t *testing.T) {
	t.Parallel()
	for i := range 4 { // the old generation finds out both at once
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			s, _ := stoppedAtReady(t, plan{SwapTimeout: 6 * time.Second})
			<-time.After(6 * time.Second) // not what decides: it makes the late look possible
			s.signal(s.pgid, syscall.SIGCONT)
			r := s.await(0, "an end of the swap", func(r record) bool { return r.Msg == "promoted" || r.Msg == "swap failed" })
			s.wantAlone(r.PID)
			if st := s.status(); st.PID != r.PID || st.Phase != drain.Ready {
				t.Errorf("%+v; want pid %d to be ready", st, r.PID)
			}
			s.wantPIDFile(r.PID)
			s.stop()
		})
	}
}
