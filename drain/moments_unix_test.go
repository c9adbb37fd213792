//go:build unix

package drain_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// The moments of a swap that commit_unix_test.go does not name: either side is killed or halted at any of them.

// struck begins a swap, and sends a signal to the old or the new generation when that time is over. It returns whom.
func (s *service) struck(after time.Duration, old bool, sig syscall.Signal) (pid int) {
	s.Helper()
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	if pid = s.pgid; !old {
		pid = s.await(mark, "the new generation", func(r record) bool { return strings.HasPrefix(r.Note, "begun") }).PID
	}
	<-time.After(after) // any moment will do
	_ = syscall.Kill(pid, sig)
	return pid
}

// A process that does not run for a while holds up, and loses nothing.
func TestHaltedAtAnyMomentLosesNothing(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	for range *rounds {
		after, halt, old := rand.N(100*time.Millisecond), rand.N(200*time.Millisecond), dice.IntN(2) == 0
		t.Run(fmt.Sprintf("%v for %v, old %t", after, halt, old), func(t *testing.T) {
			s := start(t, plan{IdleGrace: patient}, withControl)
			l := s.drive(4, time.Millisecond)
			pid := s.struck(after, old, syscall.SIGSTOP)
			<-time.After(halt) // any length will do
			_ = syscall.Kill(pid, syscall.SIGCONT)
			s.event(2, "promoted")
			s.settled(drain.Ready)
			l.end()
			s.swap()
			s.stop()
			s.wantNothingLost()
			s.wantNoControl()
		})
	}
}

// Whoever is killed: the other one serves, as long as it has not let go, and each visitor loses no more than
// what the dead process had accepted.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	for range *rounds {
		after, old := rand.N(150*time.Millisecond), dice.IntN(2) == 0
		t.Run(fmt.Sprintf("%v, old %t", after, old), func(t *testing.T) {
			const n = 3
			s := start(t, plan{}, withControl)
			visitors := s.driveBy(func() (*client, error) { return dial(s) }, 0, n, 0)
			s.struck(after, old, syscall.SIGKILL)
			left := s.outcome()
			if left == 0 {
				visitors.Stop()
				for _, r := range s.since(0) {
					begun := strings.HasPrefix(r.Note, "begun") && r.PID != s.pgid
					if old && begun {
						t.Error("nobody is left, although the new generation had begun")
					}
					if !old && r.Msg == "replaced" {
						return
					}
				}
				if !old {
					t.Error("nobody is left, although the old generation had not let go")
				}
				return
			}
			s.settled(drain.Ready)
			s.awaitPIDFile(left)
			visitors.endBroken(n)
			l := s.drive(2, time.Millisecond)
			s.swap()
			l.end()
			s.mustControl("stop")
			s.wantNoControl()
		})
	}
}

// outcome waits until the swap is over, and returns the one generation that is left, or 0.
func (s *service) outcome() int {
	s.Helper()
	for timeout := time.After(hung); ; {
		all := living(s.pgid)
		switch {
		case len(all) == 0:
			return 0
		case len(all) > 1:
		case all[0] != s.pgid:
			s.await(0, "a main generation", func(r record) bool {
				return r.PID == all[0] && r.Msg == "promoted" ||
					!isAlive(all[0])
			})
			return all[0]
		default:
			for _, r := range s.since(0) {
				if r.Msg == "swap failed" {
					return all[0]
				}
			}
		}
		select {
		case <-timeout:
			s.Fatalf("processes %v; want one", all)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isAlive(pid int) bool { return syscall.Kill(pid, 0) == nil }
