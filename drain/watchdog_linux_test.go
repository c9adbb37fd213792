package drain_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWatchdogIsPettedByTheMainGeneration(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages, func(_ *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC=20000")
	})
	l := s.drive(4, time.Millisecond)
	pets := func(pid int) {
		t.Helper()
		for at := n.mark(); ; {
			d, found := n.await(at, "WATCHDOG=1")
			if at = found + 1; d.pid == pid {
				return
			}
		}
	}
	pets(s.pgid)
	s.tell(s.pgid, syscall.SIGUSR2) // /ping answers 501
	pets(s.pgid)
	s.failSwap("check fails")
	pets(s.pgid)
	s.nextHas("")
	child := s.swap()
	pets(child.PID)
	_, barrier := n.await(0, "BARRIER=1")
	n.wantSilence(barrier+1, s.pgid)
	l.end()
	c, open := s.slow("one")
	s.signal(child.PID, syscall.SIGTERM)
	s.event(2, "draining")
	pets(child.PID)
	s.finishSlow(c, open)
	s.gone()
	s.wantNothingLost()
}

// The watchdog is of one process, and of those that take its place.
func TestWatchdogOfAnotherProcessIsLeftAlone(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages, func(_ *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC=1000", "WATCHDOG_PID=1")
	})
	child := s.swap()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child.PID))
	if err != nil || strings.Contains(string(env), "WATCHDOG_") ||
		!strings.Contains(string(env), "NOTIFY_SOCKET="+n.path) {
		t.Errorf("the next generation's environment is %q, %v", env, err)
	}
	s.stop()
	n.await(0, `STATUS=generation 2 stopped, .*`)
	if slices.ContainsFunc(n.since(0), func(d datagram) bool { return d.text == "WATCHDOG=1" }) {
		t.Error("it is petted")
	}
}
