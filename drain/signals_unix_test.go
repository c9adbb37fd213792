//go:build unix

package drain_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// byPIDFile sends a signal as a script does. The process must be there.
func (s *service) byPIDFile(sig syscall.Signal) {
	s.Helper()
	text, err := os.ReadFile(s.plan.PIDFile)
	if err != nil {
		s.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		s.Fatal(err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		s.Errorf("%v to %d: %v", sig, pid, err)
	}
}

// settled waits until the service consists of one generation, which is in that phase.
func (s *service) settled(phase drain.Phase) {
	s.Helper()
	for timeout := time.After(hung); ; {
		if all := living(s.pgid); len(all) == 1 && all[0] == s.main().PID {
			if st := s.status(); st.Phase == phase && len(st.Older) == 0 {
				return
			}
		}
		select {
		case <-timeout:
			s.Fatalf("processes %v, %+v; want one that is %s", living(s.pgid), s.status(), phase)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A pull that is sent by the PID file's number at any moment of a swap holds in the end.
func TestNoPullIsLostInASwap(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 1500 * time.Microsecond {
		mark := s.mark()
		s.byPIDFile(syscall.SIGHUP)
		s.noteSince(mark, 0, "signal: hangup") // two that are sent at once may come in any order
		<-time.After(wait)                     // any moment will do
		s.byPIDFile(syscall.SIGUSR2)
		s.settled(drain.Pulled)
		s.byPIDFile(syscall.SIGUSR1)
		s.settled(drain.Ready)
	}
	s.stop()
}

// And so does a stop: nobody is left, and nobody was cut off.
func TestNoStopIsLostInASwap(t *testing.T) {
	t.Parallel()
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 5 * time.Millisecond {
		t.Run(fmt.Sprint(wait), func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{})
			s.byPIDFile(syscall.SIGHUP)
			<-time.After(wait)
			s.byPIDFile(syscall.SIGTERM)
			s.gone()
			s.wantExit(s.pgid, 0)
			if _, err := os.Stat(s.plan.PIDFile); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("PID file: %v", err)
			}
		})
	}
}

// The order of what comes while a generation can't heed it is kept, through as many swaps as it takes.
func TestTheLastSignalWins(t *testing.T) {
	t.Parallel()
	const hup, pull, restore = syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGUSR1
	for _, c := range []struct {
		signals []syscall.Signal // after the first HUP, while the next generation gets ready
		gen     int
		phase   drain.Phase
	}{
		{[]syscall.Signal{hup, pull}, 3, drain.Pulled},
		{[]syscall.Signal{pull, hup}, 3, drain.Ready},
		{[]syscall.Signal{hup, pull, hup}, 3, drain.Ready},
		{[]syscall.Signal{pull, hup, pull}, 3, drain.Pulled},
		{[]syscall.Signal{hup, pull, restore}, 3, drain.Ready},
		{[]syscall.Signal{hup, restore, pull}, 3, drain.Pulled},
		{[]syscall.Signal{pull, restore}, 2, drain.Ready},
	} {
		t.Run(fmt.Sprint(c.signals), func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{})
			open := s.beginSwap("in Ready")
			for _, sig := range c.signals {
				s.tell(s.pgid, sig)
				notAtOnce()
			}
			open()
			s.event(c.gen, "promoted")
			s.settled(c.phase)
			if gen := s.main().Gen; gen != c.gen {
				t.Errorf("generation %d; want %d", gen, c.gen)
			}
			s.stop()
		})
	}
}

// The same in a generation that is not ready yet.
func TestTheLastSignalWinsAtTheStart(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{}, atGate("in Ready"))
	open := s.opener(s.plan.Gate)
	s.noteSince(0, 0, "at the gate")
	s.plan.Fault, s.plan.Gate = "", ""
	s.replan()
	s.tell(s.pgid, syscall.SIGHUP)
	s.tell(s.pgid, syscall.SIGUSR2)
	open()
	s.event(2, "promoted")
	s.settled(drain.Pulled)
	s.stop()
}
