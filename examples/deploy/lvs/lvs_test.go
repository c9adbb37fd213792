//go:build linux

// Package lvs shows that a balancer that only connects to a port takes a node
// out of service without a loss.
package lvs

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestRestart(t *testing.T) {
	s := newSite(t, true)
	load := s.load(4, 2)
	began := time.Now()
	s.release(0, "upgrade "+flow.Build(t, "nethttp", "v2", ""))
	took := time.Since(began)
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
		if version := n.Version(); version != "v2" {
			t.Errorf("%s runs %s, want v2", n.Addr, version)
		}
	}
	load.Report(name, "restart of both nodes", took)
}

// A pulled node keeps the connections that it has, and gets no new ones.
func TestPull(t *testing.T) {
	s := newSite(t, true)
	load := s.load(4, 2)
	began := time.Now()
	s.a.Control("pull")
	if state := s.state(s.a); state != "DOWN" {
		t.Errorf("the pull is noticed, but the checker says %q", state)
	}
	load.Reaches(s.b.PID(), 50)
	load.Reaches(s.a.PID(), 50)
	s.a.Control("restore")
	flow.Eventually(t, "the node is back", func() bool { return s.state(s.a) == "UP" })
	took := time.Since(began)
	load.Flows(50)
	if n := load.Reconnects(); n != 0 {
		t.Errorf("%d reconnects, want 0", n)
	}
	load.Report(name, "pull and restore of a node", took)
}

// Without visitors nothing but the failing connects can tell that a pull is noticed.
func TestPullUnvisited(t *testing.T) {
	s := newSite(t, true)
	s.a.Control("pull")
	if state := s.state(s.a); state != "DOWN" {
		t.Errorf("the pull is noticed, but the checker says %q", state)
	}
}

// The heartbeat goes on throughout a swap: the checker sees nothing of it.
func TestReload(t *testing.T) {
	s := newSite(t, true)
	load := s.load(4, 2)
	began := time.Now()
	for _, n := range []*flow.Node{s.a, s.b} {
		for _, version := range []string{"v2", "v3"} {
			n.Deploy(flow.Build(t, "nethttp", version, ""))
			n.Control("reload")
		}
	}
	took := time.Since(began)
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
	}
	if n := load.Reconnects(); n != 0 {
		t.Errorf("%d reconnects, want 0", n)
	}
	if said := s.checker.Output(); strings.Count(said, "\n") != 1 {
		t.Errorf("the checker has changed its mind:\n%s", said)
	}
	load.Report(name, "reload of both nodes (in-place swap), twice", took)
}

// A checker that dies during a pull leaves its rules, and the next one goes on.
func TestCheckerKilled(t *testing.T) {
	s := newSite(t, true)
	load := s.load(4, 2)
	began := time.Now()
	if err := syscall.Kill(s.a.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	s.checker.End()
	s.check()
	s.a.Control("pull")
	s.a.Control("stop")
	load.Flows(50)
	s.a.Control("start")
	flow.Eventually(t, "the node is back", func() bool { return s.state(s.a) == "UP" })
	took := time.Since(began)
	load.Reaches(s.a.PID(), 20)
	load.Report(name, "kill -9 of the checker during a pull", took)
}

// Where the checker connects to the service's own port, it notices a stop when
// the first visitors have been refused.
func TestOwnPort(t *testing.T) {
	s := newSite(t, false, "HEARTBEAT=8080")
	load := s.load(0, 2)
	s.a.Control("stop")
	flow.Eventually(t, "the checker notices", func() bool { return s.state(s.a) == "DOWN" })
	load.End()
	t.Log(load)
	if load.Failed() == 0 {
		t.Error("nothing failed: what is the heartbeat for?")
	}
}

// There is no IPVS here to try it with.
func TestIPVSConfig(t *testing.T) {
	flow.Tool(t, "keepalived", "apt-get install keepalived")
	if said, code := flow.Run(t, exec.Command("keepalived", "-t", "-f", script("ipvs.conf"))); code != 0 {
		t.Errorf("keepalived -t: exit code %d\n%s", code, said)
	}
}
