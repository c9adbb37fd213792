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

// wantPorts wants what both ports say of a service that is ready.
func (s *service) wantPorts() {
	s.Helper()
	must(s, s.knock())
	s.wantAgent("up ready\n")
}

// wantPulledPorts wants what both ports say of a service that is pulled.
func (s *service) wantPulledPorts() {
	s.Helper()
	s.wantRefused(s.knock())
	s.wantAgent("drain\n")
}

// awaitPorts waits until the heartbeat's port is open, and wants what both ports then say.
func (s *service) awaitPorts() {
	s.Helper()
	s.eventually("the heartbeat's port to be open", func() bool { return s.knock() == nil })
	s.wantPorts()
}

func TestPortsSayWhatPingSays(t *testing.T) {
	s := start(t, plan{}, withPorts)
	for range 2 {
		s.awaitPorts()
		mark := s.mark()
		s.pull()
		s.wantPulledPorts()
		s.pullOver(mark, 1)
		s.restore()
	}
	s.awaitPorts()
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
	s := start(t, plan{PullMax: hung, DrainTimeout: 2 * hung}, withPorts)
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
			// A handshake that is half done when the old generation closes its port is reset. No
			// balancer heeds that once.
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
		from := knocks.Load()
		s.eventually("heartbeats", func() bool { return knocks.Load() >= from+10 })
	}
	var finish []func()
	for i := range 3 { // and two generations drain meanwhile
		settle()
		if i < 2 {
			c, open := s.slow(fmt.Sprint("slow", i))
			finish = append(finish, func() { s.finishSlow(c, open) })
		}
		for _, fault := range []string{"crash at start", "crash in probation", "check fails"} {
			s.failSwap(fault)
			settle()
		}
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
		nc := have(net.DialTimeout("tcp", s.plan.Heartbeat, hung))(t)
		_ = nc.SetDeadline(time.Now().Add(hung))
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF { // by then it has been seen, and the ledger is at rest
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	before := heartbeat()
	s.swap()
	if after := heartbeat(); after.Host != before.Host || after.Interval != before.Interval ||
		after.Kind != before.Kind {
		t.Errorf("%+v; want\n%+v", after, before)
	}
	s.stop()
}

// A pull that the next generation takes over must not look like the end of it for a moment.
func TestHeartbeatStaysShutInASwapThatKeepsThePull(t *testing.T) {
	s := start(t, plan{KeepPull: true}, withPorts)
	s.pull()
	open := s.beginSwap("in Ready")
	s.halt(s.pgid)
	open()
	s.event(2, "proven") // and not told yet that it is pulled
	s.wantRefused(s.knock())
	s.signal(s.pgid, syscall.SIGCONT)
	s.event(2, "pulled")
	s.wantPulledPorts()
	s.restore()
	s.awaitPorts()
	s.stop()
}

// Only the main generation has the ports; one that does not keep the pull opens them again.
func TestPortsOfAGenerationThatDrainsAreClosed(t *testing.T) {
	s := start(t, plan{}, withPorts)
	c, open := s.slow("slow")
	s.swap()
	s.event(1, "replaced")
	s.pull()
	for range 20 { // or the kernel would share them out
		s.wantPulledPorts()
	}
	notAtOnce()
	s.swap()
	s.awaitPorts()
	s.finishSlow(c, open)
	s.stop()
}

func TestPortsWhenPulledOrRestoredInASwap(t *testing.T) {
	s := start(t, plan{KeepPull: true}, withPorts)
	open := s.beginSwap("in Ready")
	s.pull()
	s.wantRefused(s.knock())
	open()
	s.event(2, "pulled")
	s.wantPulledPorts()
	open = s.beginSwap("before Run") // of one that is pulled as the swap begins
	s.restore()
	s.awaitPorts()
	open()
	s.event(3, "promoted")
	s.awaitPorts()
	s.wantPing(200)
	s.stop()
}

func TestSwapToPortsThatCantBeOpened(t *testing.T) {
	other, s := start(t, plan{}, withPorts), start(t, plan{}, withPorts)
	good := s.plan
	for _, c := range badPorts(other.plan) {
		s.plan.Heartbeat, s.plan.Agent = or(c.plan.Heartbeat, good.Heartbeat), or(c.plan.Agent, good.Agent)
		s.replan()
		s.failedSwap(c.words...)
		s.plan = good
		s.wantPorts()
	}
	s.stop()
	other.wantPorts()
	other.stop()
}

func TestANewVersionMayHaveItsPortsElsewhere(t *testing.T) {
	s := start(t, plan{}, withPorts)
	first := s.plan
	withPorts(s, nil)
	s.swap()
	s.awaitPorts()
	s.exit(s.pgid)
	second := s.plan
	s.plan = first
	s.wantRefused(s.knock())
	s.plan.Heartbeat, s.plan.Agent = "", ""
	s.replan()
	gone := s.main().PID
	s.swap()
	s.exit(gone)
	s.plan = second
	s.wantRefused(s.knock())
	s.stop()
}

func TestHeartbeatPortThatSomebodyTakesWhilePulled(t *testing.T) {
	s := start(t, plan{}, withPorts)
	s.pull()
	thief := have(net.Listen("tcp", s.plan.Heartbeat))(t)
	s.restore()
	if r := s.event(1, "heartbeat failed"); !strings.Contains(r.Err, "in use") || r.Phase != drain.Ready {
		t.Error(r)
	}
	s.wantPing(200)
	_ = thief.Close()
	s.awaitPorts()
	s.stop()
}

// The ports die with the main generation, though an older one lives.
func TestPortsAfterAKill(t *testing.T) {
	s := start(t, plan{}, withPorts)
	c, open := s.slow("slow")
	r := s.swap()
	s.event(1, "replaced")
	s.kill(r.PID)
	s.wantRefused(s.knock())
	_, err := s.agent()
	s.wantRefused(err)
	again := start(t, plan{Heartbeat: s.plan.Heartbeat, Agent: s.plan.Agent})
	again.awaitPorts()
	again.stop()
	s.finishSlow(c, open)
	s.gone()
}
