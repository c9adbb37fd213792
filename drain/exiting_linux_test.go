//go:build linux

package drain_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/drain"
	process "github.com/baton-go/baton/drain/internal/proc"
)

const notExited = "older generation has not exited: its Run has returned, but main goes on"

// remain swaps n times, from generations whose main goes on after Run, and returns their pids.
func (s *service) remain(n int) (pids []int) {
	for i := range n {
		if i == n-1 {
			s.plan.Fault = ""
			s.replan()
		}
		pids = append(pids, s.main().PID)
		s.swap()
	}
	for _, pid := range pids {
		s.noteSince(0, pid, "at the gate")
		s.await(0, fmt.Sprint("a line about ", pid, ", which has not exited"), func(r record) bool {
			return strings.HasPrefix(r.Msg, notExited) && r.Gen == n+1
		})
		s.awaitLine(notExited, fmt.Sprintf("older.pid=%d", pid))
	}
	s.eventualControl(fmt.Sprint(pids, " have not exited"), func(st drain.Status) bool {
		return slices.EqualFunc(st.Older, pids, func(o drain.Peer, pid int) bool {
			return o.PID == pid && o.Phase == drain.Stopped
		})
	})
	return pids
}

// main may wait for a server of its own, or for ever.
func TestAGenerationThatDoesNotExitAfterRunIsNamedAndEnded(t *testing.T) {
	type row struct {
		fault  string
		remain int
		with   func(*service, *exec.Cmd)
		exit   int // of generation 1
	}
	kept := func(s *service, c *exec.Cmd) { withControl(s, c); withKeeper(s, c) }
	each(t, map[string]row{
		"plain":      {"after Run", 1, withControl, -15},
		"deaf":       {"deaf after Run", 1, withControl, -9},
		"two":        {"after Run", 2, withControl, -15},
		"two, deaf":  {"deaf after Run", 2, withControl, -9},
		"the keeper": {"after Run", 1, kept, unknownExit},
	}, func(t *testing.T, c row) {
		s := start(t, plan{MaxGenerations: c.remain + 1}, c.with, atGate(c.fault))
		pids := s.remain(c.remain)
		s.swap()
		s.event(c.remain+1, "too many generations: the swap waits for the oldest, which is told to leave within 5s")
		if c.exit != unknownExit {
			s.wantExit(pids[0], c.exit)
		}
		for i, pid := range pids {
			if process.Alive(pid) != (i > 0) {
				t.Errorf("process %d of %d: alive: %v; want only the oldest to be ended", i, len(pids), i == 0)
			}
		}
	})
}

func TestAGenerationThatExitsLateIsForgotten(t *testing.T) {
	s := start(t, plan{MaxGenerations: 2}, withControl, atGate("after Run"))
	open := s.opener(s.plan.Gate)
	s.remain(1)
	open()
	s.wantExit(s.pgid, 0)
	s.awaitOlder(0)
	mark := s.mark()
	s.swap()
	for _, r := range s.since(mark) {
		if strings.HasPrefix(r.Msg, "too many generations") {
			t.Error(r)
		}
	}
}
