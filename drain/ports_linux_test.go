package drain_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/health"
)

var portHosts atomic.Int32

// withPorts gives a service both ports, on an address that is the test's own.
func withPorts(s *service, _ *exec.Cmd) {
	pid, n := os.Getpid(), portHosts.Add(1)
	host := fmt.Sprintf("127.%d.%d.%d", 1+(pid>>7)%250, (pid&0x7f)<<1|int(n)>>7&1, 128+n%127)
	s.plan.Heartbeat, s.plan.Agent = host+":7001", host+":7002"
	s.replan()
}

// knock is a heartbeat.
func (s *service) knock() error {
	nc, err := net.DialTimeout("tcp", s.plan.Heartbeat, hung)
	if err == nil {
		_ = nc.Close()
	}
	return err
}

// agent asks as HAProxy's agent-check does.
func (s *service) agent() (string, error) {
	nc, err := net.DialTimeout("tcp", s.plan.Agent, hung)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(hung))
	if _, err := io.WriteString(nc, "app\n"); err != nil {
		return "", err
	}
	line, err := io.ReadAll(nc)
	return string(line), err
}

func (s *service) wantAgent(want string) {
	s.Helper()
	if got, err := s.agent(); got != want {
		s.Errorf("agent: %q, %v; want %q", got, err, want)
	}
}

func (s *service) wantRefused(err error) {
	s.Helper()
	if !errors.Is(err, syscall.ECONNREFUSED) {
		s.Errorf("%v; want it to be refused", err)
	}
}

// awaitKnock waits until the heartbeat's port is open, or shut: nobody waits for that.
func (s *service) awaitKnock(open bool) {
	s.Helper()
	for timeout := time.After(hung); ; {
		if err := s.knock(); (err == nil) == open {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			s.Fatalf("the heartbeat's port does not come to be open: %v", open)
		}
	}
}

func TestPortsSayWhatPingSays(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	for range 2 {
		s.awaitKnock(true)
		s.wantAgent("up ready\n")
		mark := s.mark()
		s.signal(s.pgid, syscall.SIGUSR2)
		s.eventSince(mark, 1, "pulled")
		s.wantRefused(s.knock())
		s.wantAgent("drain\n")
		s.eventSince(mark, 1, "pull noticed")
		s.signal(s.pgid, syscall.SIGUSR1)
		s.eventSince(mark, 1, "restored")
	}
	s.awaitKnock(true)
	c, open := s.slow("slow")
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "stopping")
	s.wantRefused(s.knock())
	s.event(1, "draining")
	s.wantAgent("down\n")
	s.finishSlow(c, open)
	s.wantEnd(0, "")
	s.wantRefused(s.knock())
	_, err := s.agent()
	s.wantRefused(err)
}

func TestPortsHaveNoGapInSwaps(t *testing.T) {
	t.Parallel()
	s := start(t, plan{PullMax: hung}, withPorts)
	quit, ended := make(chan struct{}), make(chan struct{})
	var knocks atomic.Int64
	go func() {
		defer close(ended)
		resets, knockResets := 0, 0
		var last error
		for {
			select {
			case <-quit:
				t.Logf("%d heartbeats, %d of them reset; %d agent-checks cut short", knocks.Load(), knockResets, resets)
				return
			case <-time.After(time.Millisecond):
			}
			// A handshake that is half done as the old generation closes its port is reset, which no balancer heeds once.
			err := s.knock()
			switch {
			case errors.Is(err, syscall.ECONNRESET) && last == nil:
				knockResets++
			case err != nil:
				t.Errorf("heartbeat: %v, after %v", err, last)
			}
			last = err
			// One that the kernel has connected while a generation goes is cut short, which HAProxy takes for nothing.
			switch got, err := s.agent(); {
			case errors.Is(err, syscall.ECONNRESET) || err == nil && got == "":
				resets++
			case got != "up ready\n":
				t.Errorf("agent: %q, %v", got, err)
			}
			knocks.Add(1)
		}
	}()
	settle := func() {
		t.Helper()
		for from, timeout := knocks.Load(), time.After(hung); knocks.Load() < from+10; {
			select {
			case <-time.After(time.Millisecond):
			case <-timeout:
				t.Fatal("no heartbeats")
			}
		}
	}
	var finish []func()
	for i := range 3 { // and two generations drain meanwhile
		settle()
		if i < 2 {
			c, open := s.slow(fmt.Sprint("slow", i))
			finish = append(finish, func() { s.finishSlow(c, open) })
		}
		before := s.main()
		for _, fault := range []string{"crash at start", "crash in probation", "check fails"} {
			s.plan.Fault = fault
			s.replan()
			mark := s.mark()
			s.signal(before.PID, syscall.SIGHUP)
			s.eventSince(mark, before.Gen, "swap failed")
			settle()
		}
		s.plan.Fault = ""
		s.replan()
		s.swap()
	}
	settle()
	for _, p := range s.status().Probers {
		if p.Host != "127.0.0.1" {
			t.Errorf("%+v: want those that have come, and nobody unseen", p)
		}
	}
	for _, f := range finish {
		f()
	}
	close(quit)
	<-ended
	s.stop()
}

func TestTheNextGenerationKnowsTheHeartbeatsOfTheLast(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	heartbeat := func() (p health.Prober) {
		for _, p = range s.status().Probers {
			if p.Kind == "heartbeat" && p.Host != "" {
				break
			}
		}
		return p
	}
	for heartbeat().Interval == 0 {
		nc, err := net.DialTimeout("tcp", s.plan.Heartbeat, hung)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(hung))
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF { // by then it has been seen, and the ledger is at rest
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	before := heartbeat()
	s.swap()
	if after := heartbeat(); after.Host != before.Host || after.Interval != before.Interval || after.Kind != before.Kind {
		t.Errorf("%+v; want\n%+v", after, before)
	}
	s.stop()
}

// A pull that the next generation takes over must not look like the end of it for a moment.
func TestHeartbeatStaysShutInASwapThatKeepsThePull(t *testing.T) {
	t.Parallel()
	s := start(t, plan{KeepPull: true}, withPorts)
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled")
	open := s.beginSwap("in Ready")
	s.signal(s.pgid, syscall.SIGSTOP)
	open()
	s.event(2, "proven") // and not told yet that it is pulled
	s.wantRefused(s.knock())
	s.signal(s.pgid, syscall.SIGCONT)
	s.event(2, "pulled")
	s.wantRefused(s.knock())
	s.wantAgent("drain\n")
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGUSR1)
	s.eventSince(mark, 2, "restored")
	s.awaitKnock(true)
	s.stop()
}

func TestPortsOfAGenerationThatDrainsAreClosed(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	c, open := s.slow("slow")
	s.swap()
	s.event(1, "replaced")
	s.signal(s.main().PID, syscall.SIGUSR2)
	s.event(2, "pulled")
	s.wantRefused(s.knock())
	for range 20 { // or the kernel would share them out
		s.wantAgent("drain\n")
	}
	s.finishSlow(c, open)
	s.stop()
}

func TestPortsOfAnUpgradeThatEndsThePull(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled")
	s.wantRefused(s.knock())
	notAtOnce()
	s.swap()
	s.awaitKnock(true)
	s.wantAgent("up ready\n")
	s.stop()
}

func TestPortsWhenPulledOrRestoredInASwap(t *testing.T) {
	t.Parallel()
	s := start(t, plan{KeepPull: true}, withPorts)
	open := s.beginSwap("in Ready")
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled while swapping")
	s.wantRefused(s.knock())
	open()
	s.event(2, "pulled")
	s.wantRefused(s.knock())
	s.wantAgent("drain\n")
	open = s.beginSwap("before Run") // of one that is pulled as the swap begins
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGUSR1)
	s.eventSince(mark, 2, "restored while swapping")
	s.awaitKnock(true)
	open()
	s.event(3, "promoted")
	s.awaitKnock(true)
	s.wantAgent("up ready\n")
	if a := s.get("/ping"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	s.stop()
}

func TestPortsThatCantBeOpened(t *testing.T) {
	t.Parallel()
	first := start(t, plan{}, withPorts)
	taken := first.plan
	for _, c := range []struct {
		name, field   string
		change        func(*plan)
		words         []string
		beforeRunning bool
	}{
		{name: "heartbeat of another service", field: "HeartbeatAddress",
			change: func(p *plan) { p.Heartbeat = taken.Heartbeat }, words: []string{taken.Heartbeat, "in use",
				"held by process", "use another address"}},
		{name: "agent of another service", field: "AgentAddress", change: func(p *plan) { p.Agent = taken.Agent },
			words: []string{taken.Agent, "in use", "held by process", "use another address"}},
		{name: "no interface", field: "AgentAddress", change: func(p *plan) { p.Agent = "192.0.2.1:7002" },
			words: []string{"no interface of this machine"}},
		{name: "no port", field: "HeartbeatAddress", change: func(p *plan) { p.Heartbeat = "127.0.0.1" },
			words: []string{"missing port", "want host:port"}},
		{name: "port 0", field: "HeartbeatAddress", change: func(p *plan) { p.Heartbeat = "127.0.0.1:0" },
			words: []string{"another one after each swap"}},
		{name: "no such port", field: "AgentAddress", change: func(p *plan) { p.Agent = ":70000" },
			words: []string{"70000", "want host:port"}},
		{name: "both the same", field: "AgentAddress", change: func(p *plan) { p.Agent = p.Heartbeat },
			words: []string{"HeartbeatAddress", "each needs a port of its own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, plan{}, withPorts, func(s *service, _ *exec.Cmd) {
				c.change(&s.plan)
				s.replan()
			})
			r := s.noteSince(0, 0, "error ")
			s.wantWords(errors.New(r.Note), append(c.words, "Config."+c.field)...)
			s.gone()
			s.wantExit(s.pgid, 1)

			s = start(t, plan{}, withPorts)
			old := s.plan
			c.change(&s.plan)
			s.replan()
			s.signal(s.pgid, syscall.SIGHUP)
			s.wantWords(errors.New(s.event(1, "swap failed").Err), append(c.words, "Config."+c.field,
				"generation 1 serves on")...)
			s.plan = old
			if err := s.knock(); err != nil {
				t.Error(err)
			}
			s.wantAgent("up ready\n")
			s.stop()
		})
	}
	t.Cleanup(func() {
		if err := first.knock(); err != nil {
			t.Error(err)
		}
		first.wantAgent("up ready\n")
		first.stop()
	})
}

func TestANewVersionMayHaveItsPortsElsewhere(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	old := s.in(t)
	before := s.plan
	withPorts(s, nil)
	s.swap()
	s.awaitKnock(true)
	s.wantAgent("up ready\n")
	s.exit(s.pgid)
	now := s.plan
	old.plan = before
	old.wantRefused(old.knock())
	s.plan = now
	s.plan.Heartbeat, s.plan.Agent = "", ""
	s.replan()
	gone := s.main().PID
	s.swap()
	s.exit(gone)
	s.plan = now
	s.wantRefused(s.knock())
	s.stop()
}

func TestHeartbeatPortThatSomebodyTakesWhilePulled(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	s.signal(s.pgid, syscall.SIGUSR2)
	s.event(1, "pulled")
	thief, err := net.Listen("tcp", s.plan.Heartbeat)
	if err != nil {
		t.Fatal(err)
	}
	s.signal(s.pgid, syscall.SIGUSR1)
	s.event(1, "restored")
	if r := s.event(1, "heartbeat failed"); !strings.Contains(r.Err, "in use") || r.Phase != drain.Ready {
		t.Error(r)
	}
	s.wantPing(200)
	_ = thief.Close()
	s.awaitKnock(true)
	s.stop()
}

// The ports die with the main generation, though an older one lives.
func TestPortsAfterAKill(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withPorts)
	c, open := s.slow("slow")
	r := s.swap()
	s.event(1, "replaced")
	s.signal(r.PID, syscall.SIGKILL)
	s.exit(r.PID)
	s.wantRefused(s.knock())
	_, err := s.agent()
	s.wantRefused(err)
	again := start(t, plan{}, func(n *service, _ *exec.Cmd) {
		n.plan.Heartbeat, n.plan.Agent = s.plan.Heartbeat, s.plan.Agent
		n.replan()
	})
	again.awaitKnock(true)
	again.wantAgent("up ready\n")
	again.stop()
	s.finishSlow(c, open)
	s.gone()
}
