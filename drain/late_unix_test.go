//go:build unix

package drain_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// A generation that was replaced forwards what comes to it, and may be late. A pull that has come to a newer generation
// holds: its sender has read the PID file later.
func TestForwardedLate(t *testing.T) {
	t.Parallel()
	const hup, pull, restore = syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGUSR1
	for name, c := range map[string]struct {
		late  []syscall.Signal // to generation 1
		now   func(s *service) // what comes to newer ones before
		gen   int              // the last
		phase drain.Phase
	}{
		"a swap":            {late: []syscall.Signal{hup}, now: pulls, gen: 3, phase: drain.Pulled},
		"a restore":         {late: []syscall.Signal{restore}, now: pulls, gen: 2, phase: drain.Pulled},
		"restore and swap":  {late: []syscall.Signal{restore, hup}, now: pulls, gen: 3, phase: drain.Pulled},
		"swap and pull":     {late: []syscall.Signal{hup, pull}, now: func(*service) {}, gen: 3, phase: drain.Pulled},
		"pull, then a swap": {late: []syscall.Signal{pull, hup}, now: func(*service) {}, gen: 3, phase: drain.Ready},
		"a swap, with a generation between": {late: []syscall.Signal{hup}, now: func(s *service) {
			s.swap()
			pulls(s)
		}, gen: 4, phase: drain.Pulled},
		"a swap, to one that starts pulled": {late: []syscall.Signal{hup}, now: func(s *service) {
			open := s.beginSwap("in Ready")
			s.signal(s.main().PID, pull)
			s.event(2, "pulled while swapping; the next generation starts pulled")
			open()
			s.event(3, "promoted")
		}, gen: 4, phase: drain.Pulled},
		"a swap, when a later one has ended the pull": {late: []syscall.Signal{hup}, now: func(s *service) {
			pulls(s)
			notAtOnce()
			s.swap()
		}, gen: 4, phase: drain.Ready},
		"a swap, when a later restore has ended the pull": {late: []syscall.Signal{hup}, now: func(s *service) {
			pulls(s)
			notAtOnce()
			s.signal(s.main().PID, restore)
			s.event(2, "restored")
		}, gen: 3, phase: drain.Ready},
		"a stop": {late: []syscall.Signal{syscall.SIGTERM}, now: pulls},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for !tryLate(t, c.late, c.now, c.gen, c.phase) {
			}
		})
	}
}

// tryLate reports whether the signals came in time to be forwarded.
func tryLate(t *testing.T, late []syscall.Signal, now func(*service), gen int, phase drain.Phase) bool {
	s := start(t, plan{DrainTimeout: 2 * hung})
	slow, open := s.slow("slow")
	swapped := time.Now()
	s.swap()
	s.event(1, "replaced")
	now(s)
	mark := s.mark()
	for _, sig := range late {
		s.tell(s.pgid, sig)
		notAtOnce()
	}
	switch {
	case time.Since(swapped) > 2*time.Second: // this machine is too busy
		s.finishSlow(slow, open)
		s.stop()
		return false
	case gen == 0:
		s.eventSince(mark, 2, "waiting for older generations")
		s.finishSlow(slow, open)
		s.wantEnd(0, "")
		return true
	case gen > s.main().Gen:
		s.eventSince(mark, gen, "promoted")
	}
	s.finishSlow(slow, open)
	s.settled(phase)
	if got := s.main().Gen; got != gen {
		t.Errorf("generation %d; want %d", got, gen)
	}
	s.stop()
	return true
}

// pulls sends the main generation a pull, and waits until it has heeded it.
func pulls(s *service) {
	s.Helper()
	mark, main := s.mark(), s.main()
	s.signal(main.PID, syscall.SIGUSR2)
	s.eventSince(mark, main.Gen, "pulled")
}
