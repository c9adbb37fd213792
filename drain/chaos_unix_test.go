//go:build unix

package drain_test

import (
	"math"
	"os"
	"syscall"
	"testing"
	"time"
)

// What the new generation can't take for want of descriptors the old one serves until it closes it politely.
func TestNewWithoutDescriptorsLosesNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("the limit is set by way of /proc")
	}
	s := start(t, plan{IdleGrace: patient})
	l := s.drive(16, time.Millisecond)
	s.nextHas("few descriptors")
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.eventSince(mark, 2, "promoted")
	s.eventSince(mark, 2, "older generation is gone") // from here on it has descriptors again
	l.settle()
	l.endWith(math.MaxInt)
	s.wantNothingLost()
	s.nextHas("")
	s.swap()
	s.stop()
}

// A random walk through what an operator may do. Whatever comes, no request is lost.
func TestRandomWalkLosesNothing(t *testing.T) {
	dice := dice(t)
	s := start(t, plan{MaxGenerations: 64, DrainTimeout: 20 * hung})
	l := s.drive(8, 3*time.Millisecond)
	faults := []string{"", "", "", "crash at start", "crash in probation", "panic in probation", "ready fails",
		"check fails", "preflight fails"}
	type slow struct {
		c    *client
		open func()
	}
	var hanging []slow
	for step := range 30 {
		s.nextHas(faults[dice.IntN(len(faults))])
		mark, main := s.mark(), s.main()
		// Signals may come to a generation that has just handed over; then they are nobody's.
		switch dice.IntN(6) {
		case 0:
			s.signal(main.PID, syscall.SIGUSR2)
		case 1:
			s.signal(main.PID, syscall.SIGUSR1)
		case 2:
			if len(hanging) < 6 {
				c, open := s.slow("slow" + string(rune('A'+step)))
				hanging = append(hanging, slow{c, open})
			}
		case 3:
			if len(hanging) > 0 {
				s.finishSlow(hanging[0].c, hanging[0].open)
				hanging = hanging[1:]
			}
		}
		s.signal(main.PID, syscall.SIGHUP)
		s.await(mark, "the end of a swap", func(r record) bool {
			return r.Msg == "swap failed" && r.PID == main.PID || r.Msg == "promoted" && r.Gen == main.Gen+1
		})
	}
	for _, h := range hanging {
		s.finishSlow(h.c, h.open)
	}
	l.end()
	s.nextHas("")
	s.swap()
	for _, h := range hanging {
		s.wantMoved(h.c, s.main())
	}
	s.stop()
	s.wantNothingLost()
}
