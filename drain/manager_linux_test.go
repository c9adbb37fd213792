package drain_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func ready(gen int) string {
	return fmt.Sprintf(`READY=1\nSTATUS=generation %d ready, .*`, gen)
}

const (
	extend    = `\nEXTEND_TIMEOUT_USEC=\d+`
	reloading = `RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=generation \d+ swapping, .*` + extend
	stopping  = `STOPPING=1\nSTATUS=generation \d+ .*` + extend
)

func takesOver(pid, gen int) string {
	return fmt.Sprintf(`MAINPID=%d\nREADY=1\nSTATUS=generation %d takes over`, pid, gen)
}

func TestManagerHearsAStartSwapsAndAStop(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	main := s.main()
	at := n.next(0, main.PID, ready(1))
	for range 3 {
		before := monotonic(t)
		mark := n.mark()
		child := s.swap()
		at = n.next(at, main.PID, reloading)
		var usec int64
		if _, err := fmt.Sscanf(n.since(at - 1)[0].text, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec < before || usec > monotonic(t) {
			t.Errorf("MONOTONIC_USEC is %d, %v; want it to be between %d and now", usec, err, before)
		}
		at = n.next(at, main.PID, takesOver(child.PID, child.Gen))
		at = n.next(at, main.PID, "BARRIER=1")
		if d := n.since(at - 1)[0]; d.files != 1 {
			t.Errorf("%q comes with %d descriptors", d.text, d.files)
		}
		for _, d := range n.since(mark)[:at-mark] {
			if d.pid == child.PID {
				t.Errorf("the new one says %q before it is the main one", d.text)
			}
		}
		old := main
		main = child
		n.await(at, fmt.Sprintf("STATUS=generation %d ready, .*", main.Gen))
		s.wantExit(old.PID, 0)
		n.wantSilence(at, old.PID)
	}
	s.stop()
	at = n.next(at, main.PID, stopping)
	n.next(at, main.PID, fmt.Sprintf("STATUS=generation %d stopped, 0 open connections.*", main.Gen))
}

// Between the old one's word and the manager's understanding nothing may change hands.
func TestManagerIsWaitedForBeforeTheNewOneIsMain(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	n.turnDeaf()
	l := s.drive(4, time.Millisecond)
	s.signal(s.pgid, syscall.SIGHUP)
	_, at := n.await(0, "BARRIER=1")
	l.settle()
	if a := s.get("/whoami"); a.pid != s.pgid {
		t.Errorf("%+v; want the old one to serve until the manager knows", a)
	}
	s.wantNone(0, "promoted")
	if len(n.since(at+1)) > 0 {
		t.Errorf("after the barrier: %q", n.since(at+1))
	}
	n.answer()
	s.event(2, "promoted")
	l.end()
	s.stop()
}

func TestManagerThatDoesNotUnderstandIsNotWaitedForForLong(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	n.turnDeaf()
	l := s.drive(4, time.Millisecond)
	s.swap()
	l.end()
	s.stop()
	n.await(0, stopping)
}

// Its socket's queue is full, and whoever writes there waits for ever.
func TestManagerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/n", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := start(t, plan{}, func(_ *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+dir+"/n", "WATCHDOG_USEC=2000")
	})
	l := s.drive(4, time.Millisecond)
	for range 20 {
		mark := s.mark()
		s.do("pull")
		s.do("restore")
		s.eventSince(mark, 1, "restored")
	}
	s.swap()
	l.end()
	s.stop()
}

func TestManagerThatIsGoneHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, func(s *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+s.dir+"/nothing", "WATCHDOG_USEC=1000000")
	})
	l := s.drive(4, time.Millisecond)
	s.swap()
	s.swap()
	l.end()
	s.stop()
}

func TestManagerHearsWhyASwapFailed(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	at := n.next(0, s.pgid, ready(1))
	for _, c := range []struct{ fault, reason string }{
		{"preflight fails", "Config.Preflight: the new binary says no"},
		{"crash at start", ".*exit status 3.*"},
		{"ready fails", "drain: Config.Ready: the cache is cold .*"},
		{"check fails", "drain: self-check: Config.Check: the database is away .*"},
		{"panic in probation", ".*exit status 2.*"},
	} {
		s.plan.Fault = c.fault
		s.replan()
		mark := s.mark()
		s.signal(s.pgid, syscall.SIGHUP)
		s.eventSince(mark, 1, "swap failed")
		at = n.next(at, s.pgid, reloading)
		at = n.next(at, s.pgid, `READY=1\nSTATUS=reload failed: `+c.reason+`; generation 1 ready, 0 open connections`)
	}
	s.plan.Fault = ""
	s.replan()
	child := s.swap()
	at = n.next(at, s.pgid, reloading)
	at = n.next(at, s.pgid, takesOver(child.PID, 2))
	s.stop()
	n.await(at, stopping)
	for _, d := range n.since(at) {
		if strings.Contains(d.text, "failed") {
			t.Errorf("after a swap that succeeded: %q", d.text)
		}
	}
}

// One that draws its last breath must not end the service of the next.
func TestManagerHearsNoStopOfTheReplaced(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{DrainTimeout: 2 * hung}, n.manages)
	c, open := s.slow("one")
	child := s.swap()
	_, at := n.await(0, "BARRIER=1")
	n.await(at, fmt.Sprintf(`STATUS=generation 2 ready, \d+ open connections?; still draining: generation 1 \(pid %d\)`, s.pgid))
	s.tell(s.pgid, syscall.SIGTERM)
	s.finishSlow(c, open)
	s.event(2, "older generation is gone")
	n.wantSilence(at+1, s.pgid)
	n.await(at, `STATUS=generation 2 ready, \d+ open connections?`)
	s.stop()
	if _, stopped := n.await(at, stopping); n.since(stopped)[0].pid != child.PID {
		t.Errorf("STOPPING=1 comes from %d; want %d", n.since(stopped)[0].pid, child.PID)
	}
}

// A stop that comes while the manager makes up its mind is the next generation's.
func TestManagerIsToldOfAStopByWhomItFollows(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	n.turnDeaf()
	s.signal(s.pgid, syscall.SIGHUP)
	_, at := n.await(0, "BARRIER=1")
	s.tell(s.pgid, syscall.SIGTERM)
	s.tell(s.pgid, syscall.SIGTERM) // impatience does not leave a new generation that nobody told
	n.answer()
	child := s.event(2, "promoted")
	s.gone()
	s.wantExit(s.pgid, 0)
	n.wantSilence(at+1, s.pgid)
	if d, _ := n.await(at, stopping); d.pid != child.PID {
		t.Errorf("STOPPING=1 comes from %d; want %d", d.pid, child.PID)
	}
}

func TestManagerHearsAStopOnceWhenPulledBefore(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{PullMax: 2 * hung, PullMin: 2 * hung}, n.manages)
	at := n.next(0, s.pgid, ready(1))
	s.get("/ping")
	s.tell(s.pgid, syscall.SIGUSR2)
	n.await(at, `STATUS=generation 1 pulled, .*, 0 of 1 probers noticed`)
	s.tell(s.pgid, syscall.SIGTERM)
	_, at = n.await(at, `STOPPING=1\nSTATUS=generation 1 pulled and stopping, .*, 0 of 1 probers noticed`+extend)
	quit := make(chan struct{})
	var prober sync.WaitGroup
	prober.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			if c, err := dial(s); err == nil {
				_, _ = c.ask("GET", "/ping", "")
				_ = c.Close()
			}
			if isClosed(quit) {
				tick.Stop()
				return
			}
		}
	})
	n.await(at, `STATUS=generation 1 pulled and stopping, .*, 1 of 1 probers noticed`+`(`+extend+`)?`)
	close(quit)
	prober.Wait()
	s.signal(s.pgid, syscall.SIGTERM)
	n.await(at, `STATUS=generation 1 stopped, 0 open connections: drain: asked twice: cut off .*`)
	s.gone()
	for _, d := range n.since(at + 1) {
		if !strings.HasPrefix(d.text, "STATUS=") && !strings.HasPrefix(d.text, "EXTEND_TIMEOUT_USEC=") {
			t.Errorf("after STOPPING=1: %q", d.text)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Then only the new one can say who is to be followed.
func TestManagerHearsOfTheNewWhenTheOldWasKilled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"in Ready", "barrier"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			n := newNotifySocket(t)
			s := start(t, plan{}, n.manages)
			open := func() {}
			if at == "barrier" {
				n.turnDeaf()
				s.signal(s.pgid, syscall.SIGHUP)
			} else {
				open = s.beginSwap(at)
			}
			n.await(0, map[string]string{"in Ready": reloading, "barrier": "BARRIER=1"}[at])
			mark := n.mark()
			s.signal(s.pgid, syscall.SIGKILL)
			s.wantExit(s.pgid, -9)
			open()
			child := s.event(2, "promoted")
			n.next(mark, child.PID, fmt.Sprintf(`MAINPID=%d\nREADY=1\nSTATUS=generation 2 ready, .*`, child.PID))
			n.answer()
			s.wantServed(child.PID)
		})
	}
}

// A swap is over for the old one by then; what it has it finishes, and nobody waits for a manager.
func TestNewKilledBeforeTheManagerUnderstood(t *testing.T) {
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{IdleGrace: time.Millisecond}, n.manages)
	c, open := s.slow("one")
	n.turnDeaf()
	s.signal(s.pgid, syscall.SIGHUP)
	_, at := n.await(0, "BARRIER=1")
	s.signal(s.noteSince(0, s.proven().PID, "begun").PID, syscall.SIGKILL)
	s.event(1, "replaced")
	s.finishSlow(c, open)
	s.gone()
	s.wantExit(s.pgid, 0)
	n.wantSilence(at+1, s.pgid)
}

func (s *service) proven() record { s.Helper(); return s.event(2, "proven") }

func TestManagerIsAskedForTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		plan  plan
		until time.Duration
		begin func(s *service, n *notifySocket)
	}{
		{"to start", plan{Fault: "hang in Ready", SwapTimeout: 8 * time.Second}, 8 * time.Second, func(*service, *notifySocket) {}},
		{"to swap", plan{SwapTimeout: 3 * time.Second}, 8 * time.Second, func(s *service, n *notifySocket) {
			s.event(1, "ready")
			n.await(0, ready(1))
			s.plan.Fault = "hang in Ready"
			s.replan()
			s.signal(s.pgid, syscall.SIGHUP)
		}},
		{"for the balancers", plan{PullMax: 2 * time.Second, DrainTimeout: time.Second, PullMin: 2 * time.Second}, 8 * time.Second, func(s *service, n *notifySocket) {
			s.event(1, "ready")
			n.await(0, ready(1))
			s.signal(s.pgid, syscall.SIGTERM)
		}},
		{"to drain", plan{DrainTimeout: 6 * time.Second}, 7 * time.Second, func(s *service, n *notifySocket) {
			s.event(1, "ready")
			n.await(0, ready(1))
			s.slow("drain")
			s.signal(s.pgid, syscall.SIGTERM)
			s.event(1, "draining")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNotifySocket(t)
			s := begin(t, c.plan, n.manages)
			c.begin(s, n)
			mark := n.mark()
			last := c.until
			for range 2 {
				d, at := n.await(mark, `(STATUS=.*\n)?EXTEND_TIMEOUT_USEC=\d+`)
				mark = at + 1
				_, text, _ := strings.Cut(d.text, "EXTEND_TIMEOUT_USEC=")
				left, err := time.ParseDuration(text + "us")
				if err != nil || left >= last || left <= 0 {
					t.Errorf("%q: want less than %v", d.text, last)
				}
				last = left
			}
			s.signal(s.pgid, syscall.SIGKILL)
		})
	}
}

func TestWatchdogIsPettedByTheMainGeneration(t *testing.T) {
	t.Parallel()
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
	s.plan.Fault = "check fails"
	s.replan()
	s.signal(s.pgid, syscall.SIGHUP)
	s.event(1, "swap failed")
	pets(s.pgid)
	s.plan.Fault = ""
	s.replan()
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
	t.Parallel()
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages, func(_ *service, cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC=1000", "WATCHDOG_PID=1")
	})
	child := s.swap()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child.PID))
	if err != nil || strings.Contains(string(env), "WATCHDOG_") || !strings.Contains(string(env), "NOTIFY_SOCKET="+n.path) {
		t.Errorf("the next generation's environment is %q, %v", env, err)
	}
	s.stop()
	n.await(0, `STATUS=generation 2 stopped, .*`)
	if slices.ContainsFunc(n.since(0), func(d datagram) bool { return d.text == "WATCHDOG=1" }) {
		t.Error("it is petted")
	}
}
