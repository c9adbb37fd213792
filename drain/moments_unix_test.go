//go:build unix

package drain_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
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
			killed := s.struck(after, old, syscall.SIGKILL)
			s.eventually("the end of what was killed", func() bool { return !slices.Contains(living(s.pgid), killed) })
			left := s.outcome()
			if left == 0 {
				visitors.Stop()
				all := s.since(0)
				begun := slices.ContainsFunc(all, func(r record) bool {
					return strings.HasPrefix(r.Note, "begun") && r.PID != s.pgid
				})
				unheard := slices.ContainsFunc(all, func(r record) bool {
					return strings.Contains(r.Note, "did not say hello")
				})
				if old && begun && !unheard {
					t.Error("nobody is left, although the new generation had begun and been told " +
						"what it is to take over")
				}
				if !old && !slices.ContainsFunc(all, told(1, "replaced")) {
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
				return r.PID == all[0] && r.Msg == "promoted" || !isAlive(all[0])
			})
			if isAlive(all[0]) {
				return all[0]
			}
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

// rounds is how often what depends on the moment is tried: few times in CI, a hundred where somebody looks for trouble.
var rounds = flag.Int("rounds", 4, "how often the tests that try random moments do so")

// A pull and a restore that are pending at once have no order: the pull holds, every time.
func TestPullAndRestorePendingAtOnce(t *testing.T) {
	s := start(t, plan{})
	for range 5 * *rounds {
		mark := s.mark()
		s.halt(s.pgid)
		s.signal(s.pgid, syscall.SIGUSR1)
		s.signal(s.pgid, syscall.SIGUSR2)
		s.signal(s.pgid, syscall.SIGCONT)
		s.noteSince(mark, 0, "signal: SIGUSR1")
		s.noteSince(mark, 0, "signal: SIGUSR2")
		s.settled(drain.Pulled)
		s.signal(s.pgid, syscall.SIGUSR1)
		s.settled(drain.Ready)
	}
	s.stop()
}

// storm sends HUPs by the PID file's number, one each millisecond, and others among them, until that time is over or
// the function that it returns is called, which waits for its end.
func (s *service) storm(dice *rand.Rand, others ...syscall.Signal) (end func()) {
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for !isClosed(quit) {
			sig := syscall.SIGHUP
			if n := len(others); n > 0 && dice.IntN(8) == 0 {
				sig = others[dice.IntN(n)]
			}
			text, err := os.ReadFile(s.plan.PIDFile)
			pid, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
			if err == nil && err2 == nil {
				_ = syscall.Kill(pid, sig)
			}
			<-time.After(time.Millisecond)
		}
	}()
	return func() { close(quit); <-over }
}

// Three seconds of HUPs, pulls and restores. Nothing is lost, what comes last holds, and one generation is left.
func TestStormOfSignalsLosesNothing(t *testing.T) {
	s := start(t, plan{MaxGenerations: 4, DrainTimeout: 2 * hung})
	l := s.drive(4, time.Millisecond)
	end := s.storm(dice(t), syscall.SIGUSR2, syscall.SIGUSR1)
	<-time.After(3 * time.Second) // how long the storm lasts
	end()
	s.settled(drain.Ready, drain.Pulled) // a generation that forwards may come late with what it got before
	notAtOnce()
	mark := s.mark()
	s.byPIDFile(syscall.SIGUSR2)
	s.noteSince(mark, 0, "signal: SIGUSR2") // it may be pulled already
	s.settled(drain.Pulled)
	notAtOnce()
	s.byPIDFile(syscall.SIGUSR1)
	s.settled(drain.Ready)
	t.Logf("generation %d after the storm", s.main().Gen)
	l.end()
	s.swap()
	s.stop()
	s.wantNothingLost()
}

// A stop in the middle of a storm of HUPs stops the service, whenever it comes, and a request in flight is finished.
func TestStopInAStormOfHUPs(t *testing.T) {
	t.Parallel()
	dice := dice(t)
	for range *rounds {
		wait := rand.N(400 * time.Millisecond)
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			s := start(t, plan{MaxGenerations: 4, DrainTimeout: 2 * hung})
			c, open := s.slow("slow")
			end := s.storm(dice)
			<-time.After(wait) // any moment will do
			s.byPIDFile(syscall.SIGTERM)
			s.await(0, "a stop", func(r record) bool { return r.Msg == "draining" })
			end()
			s.finishSlow(c, open)
			s.gone()
			s.wantExit(s.pgid, 0)
			s.wantNothingLost()
		})
	}
}

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

// A pull that is sent by the PID file's number at any moment of a swap holds in the end.
func TestNoPullIsLostInASwap(t *testing.T) {
	s := start(t, plan{})
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 3 * time.Millisecond {
		mark := s.mark()
		s.byPIDFile(hup)
		s.noteSince(mark, 0, "signal: SIGHUP") // two that are sent at once may come in any order
		<-time.After(wait)                     // any moment will do
		s.byPIDFile(pull)
		s.settled(drain.Pulled)
		s.byPIDFile(restore)
		s.settled(drain.Ready)
	}
	s.stop()
}

// And so does a stop: nobody is left, and nobody was cut off.
func TestNoStopIsLostInASwap(t *testing.T) {
	var moments []time.Duration
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 5 * time.Millisecond {
		moments = append(moments, wait)
	}
	eachOf(t, func(t *testing.T, wait time.Duration) {
		s := start(t, plan{})
		s.byPIDFile(hup)
		<-time.After(wait) // any moment will do
		s.byPIDFile(term)
		s.gone()
		s.wantExit(s.pgid, 0)
		wantNoFile(t, s.plan.PIDFile)
	}, moments...)
}
