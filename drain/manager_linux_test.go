package drain_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keepsSocket comes first: a manager that takes the service for ready may kill it right then.
const keepsSocket = `FDSTORE=1\nFDPOLL=0\nFDNAME=baton\..*`

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
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	main := s.main()
	at := n.next(n.next(0, main.PID, keepsSocket), main.PID, ready(1))
	for range 3 {
		before := monotonic(t)
		mark := n.mark()
		child := s.swap()
		at = n.next(at, main.PID, reloading)
		var usec int64
		if _, err := fmt.Sscanf(n.since(at - 1)[0].text, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil ||
			usec < before || usec > monotonic(t) {
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

func TestManagerHearsWhyASwapFailed(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	at := n.next(n.next(0, s.pgid, keepsSocket), s.pgid, ready(1))
	for _, c := range []struct{ fault, reason string }{
		{"preflight fails", "Config.Preflight: the new binary says no"},
		{"crash at start", ".*exit status 3.*"},
		{"ready fails", "Config.Ready: the cache is cold .*"},
		{"check fails", "self-check: Config.Check: the database is away .*"},
		{"panic in probation", ".*exit status 2.*"},
	} {
		s.failSwap(c.fault)
		at = n.next(at, s.pgid, reloading)
		at = n.next(at, s.pgid, `READY=1\nSTATUS=reload failed: `+c.reason+`; generation 1 ready, 0 open connections`)
	}
	s.nextHas("")
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

// A manager that has begun a reload waits for a RELOADING=1 that is later than that, also where a swap that is under
// way fails first.
func TestManagerHearsEachOfTwoSwapsInARow(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	at := n.next(n.next(0, s.pgid, keepsSocket), s.pgid, ready(1))
	s.beginSwap("in Ready")
	at = n.next(at, s.pgid, reloading)
	s.tell(s.pgid, syscall.SIGHUP)
	s.kill(s.event(2, "starting").PID)
	at = n.next(at, s.pgid, `READY=1\nSTATUS=reload failed: .*`)
	n.next(at, s.pgid, reloading)
	s.settled("ready")
}

// Beside the main process there is another one, when systemd comes to signal the others: it would kill that one else.
func TestManagerFindsTheCandidateInAStop(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{}, n.manages)
	s.beginSwap("in Ready")
	begun := time.Now()
	s.signal(s.pgid, syscall.SIGTERM)
	left := s.event(2, "stopped before it was ready")
	if d := time.Unix(0, left.At).Sub(begun); d < 250*time.Millisecond {
		t.Errorf("the candidate leaves after %v; want 250 ms or more", d)
	}
	s.gone()
	s.wantExit(s.pgid, 0)
}

// One that draws its last breath must not end the service of the next.
func TestManagerHearsNoStopOfTheReplaced(t *testing.T) {
	n := newNotifySocket(t)
	s := start(t, plan{DrainTimeout: 2 * hung}, n.manages)
	c, open := s.slow("one")
	child := s.swap()
	_, at := n.await(0, "BARRIER=1")
	n.await(at, fmt.Sprintf(`STATUS=generation 2 ready, \d+ open connections?; `+
		`still draining: generation 1 \(pid %d, 1 open, until [0-9:]+\)`, s.pgid))
	<-time.After(forwarding)
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
	n := newNotifySocket(t)
	s := start(t, plan{PullMax: 2 * hung, PullMin: 2 * hung}, n.manages)
	at := n.next(n.next(0, s.pgid, keepsSocket), s.pgid, ready(1))
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
	// A busy service may not have seen the end of the last probe.
	n.await(at, `STATUS=generation 1 stopped, .*: drain: asked twice: cut off .*`)
	s.gone()
	for _, d := range n.since(at + 1) {
		if !strings.HasPrefix(d.text, "STATUS=") && !strings.HasPrefix(d.text, "EXTEND_TIMEOUT_USEC=") {
			t.Errorf("after STOPPING=1: %q", d.text)
		}
	}
}

func TestManagerIsAskedForTime(t *testing.T) {
	type row struct {
		plan  plan
		until time.Duration
		begin func(s *service) // of one that is ready; nil: it is to start
	}
	each(t, map[string]row{
		"to start": {plan{Fault: "hang in Ready", SwapTimeout: 8 * time.Second}, 8 * time.Second, nil},
		"to swap": {plan{SwapTimeout: 4500 * time.Millisecond}, 9500 * time.Millisecond, func(s *service) {
			s.nextHas("hang in Ready")
			s.signal(s.pgid, hup)
		}},
		"for the balancers": {plan{PullMax: 4500 * time.Millisecond, DrainTimeout: 400 * time.Millisecond,
			PullMin: 4500 * time.Millisecond}, 9900 * time.Millisecond, func(s *service) { s.signal(s.pgid, term) }},
		"to drain": {plan{DrainTimeout: 6 * time.Second}, 7 * time.Second, func(s *service) {
			s.slow("drain")
			s.signal(s.pgid, term)
			s.event(1, "draining")
		}},
		"to say that it is gone": {plan{Fault: "hang in Gone", DrainTimeout: 3 * time.Second}, 6 * time.Second,
			func(s *service) {
				s.signal(s.pgid, term)
				s.noteSince(0, 0, "gone")
			}},
	}, func(t *testing.T, c row) {
		n := newNotifySocket(t)
		s := begin(t, c.plan, n.manages)
		if c.begin != nil {
			s.event(1, "ready")
			n.await(0, ready(1))
			c.begin(s)
		}
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
