//go:build unix

package drain_test

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// What sends a stop twice in one moment means one: timeout(1), a wrapper that forwards a Ctrl-C, a service manager
// that signals main process and group. A request that is under way is answered, and the exit code is 0.
func TestTwoStopsInOneMomentAreOne(t *testing.T) {
	t.Parallel()
	const term, intr = syscall.SIGTERM, syscall.SIGINT
	for name, send := range map[string]func(s *service, pid int){
		"TERM twice": func(s *service, pid int) { s.signal(pid, term); s.signal(pid, term) },
		"five times": func(s *service, pid int) {
			for range 5 {
				s.signal(pid, intr)
			}
		},
		"INT and TERM":                   func(s *service, pid int) { s.signal(pid, intr); s.signal(pid, term) },
		"the process and then its group": func(s *service, pid int) { s.signal(pid, term); s.signal(-s.pgid, term) },
		"when it has heard the first":    func(s *service, pid int) { s.tell(pid, term); s.signal(pid, term) },
		"a pull between":                 func(s *service, pid int) { s.tell(pid, term); s.tell(pid, syscall.SIGUSR2); s.signal(pid, term) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{Forgiving: true})
			c, open := s.slow("slow")
			send(s, s.pgid)
			s.event(1, "draining")
			s.finishSlow(c, open)
			s.wantEnd(0, "")
		})
	}
	t.Run("in a swap", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{Forgiving: true})
		c, open := s.slow("slow")
		s.beginSwap("in Ready")
		s.signal(s.pgid, term)
		s.signal(s.pgid, term)
		s.event(1, "draining")
		s.finishSlow(c, open)
		s.wantEnd(0, "")
	})
	t.Run("an old generation", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{Forgiving: true})
		c, open := s.slow("slow")
		s.swap()
		s.event(1, "replaced")
		<-time.After(forwarding)
		s.tell(s.pgid, term)
		s.signal(s.pgid, term)
		s.finishSlow(c, open)
		s.event(1, "stopped")
		s.stop()
		s.wantExit(s.pgid, 0)
	})
	t.Run("kill(1) of a group that has one process", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{Forgiving: true})
		c, open := s.slow("slow")
		script := "kill -TERM $0; kill -TERM -$0"
		if out, err := exec.Command("sh", "-c", script, strconv.Itoa(s.pgid)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.event(1, "draining")
		s.finishSlow(c, open)
		s.wantEnd(0, "")
	})
}

// One that comes later asks to leave now, how ever many have come with the first.
func TestASecondStopLaterLeavesNow(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Forgiving: true})
	s.slow("slow")
	s.tell(s.pgid, syscall.SIGTERM)
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "draining")
	<-time.After(110 * time.Millisecond) // the window is 100 ms, from the first
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "asked twice: cut off 1 active connection(s)")
}
