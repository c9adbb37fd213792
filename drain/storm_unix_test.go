//go:build unix

package drain_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

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
		s.noteSince(mark, 0, "signal: user defined signal 1")
		s.noteSince(mark, 0, "signal: user defined signal 2")
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
	s.noteSince(mark, 0, "signal: user defined signal 2") // it may be pulled already
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
