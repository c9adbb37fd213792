//go:build linux

// Package keepalived shows that a service behind an address that moves loses
// nothing: no request, and no connection that is open when the address moves.
package keepalived

import (
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// Each node is upgraded, and upgraded again, so that the address moves twice.
func TestRestart(t *testing.T) {
	s := newSite(t, true)
	load := s.load(4, 2)
	began := time.Now()
	s.release(0, "upgrade "+flow.Build(t, "nethttp", "v2", ""))
	s.settled()
	load.Flows(50)
	s.release(0, "upgrade "+flow.Build(t, "nethttp", "v3", ""))
	took := time.Since(began)
	s.settled()
	for _, n := range s.nodes {
		if version := n.Version(); version != "v3" {
			t.Errorf("node %s runs %s, want v3", n.name, version)
		}
		if said := n.daemon.Output(); !strings.Contains(said, "Entering MASTER STATE") {
			t.Errorf("node %s has never had the address", n.name)
		}
	}
	load.Flows(50)
	load.Report(name, "restart of both nodes, twice", took)
}

// The address moves away from connections that are open, and back to them; they
// stay where they are.
func TestPull(t *testing.T) {
	s := newSite(t, true)
	old, other := s.settled()
	load := s.load(4, 2)
	began := time.Now()
	old.Control("pull")
	if old.has() {
		t.Error("the pull is noticed, and the address is still there")
	}
	load.Reaches(other.PID(), 50)
	load.Reaches(old.PID(), 50) // on connections that it has had before
	later := s.load(4, 2)
	old.Control("restore")
	flow.Eventually(t, "the old node is ready again", func() bool { return old.state() == "BACKUP" })
	load.Reaches(old.PID(), 50)

	other.Control("pull")
	later.Reaches(other.PID(), 50)
	load.Reaches(old.PID(), 50)
	other.Control("restore")
	took := time.Since(began)
	if master, _ := s.settled(); master != old {
		t.Errorf("node %s is still master", master.name)
	}
	t.Log(later.End())
	if later.Failed() != 0 {
		t.Error("0 failed requests wanted")
	}
	if n := load.Reconnects() + later.Reconnects(); n != 0 {
		t.Errorf("%d reconnects, want 0", n)
	}
	load.Report(name, "pull and restore of both nodes", took)
}

// Without visitors nothing but the failing probes can tell that a pull is noticed.
func TestPullUnvisited(t *testing.T) {
	s := newSite(t, true)
	old, other := s.settled()
	old.Control("pull")
	if old.has() {
		t.Error("the pull is noticed, and the address is still there")
	}
	flow.Eventually(t, "the other node has it", other.has)
}

// Without stay.sh open connections die with the move.
func TestWithoutStay(t *testing.T) {
	s := newSite(t, false)
	old, other := s.settled()
	load := s.load(4, 0)
	old.Control("pull")
	load.Reaches(other.PID(), 50)
	load.End()
	t.Log(load)
	if load.Failed() == 0 {
		t.Error("nothing failed: what is stay.sh for?")
	}
}

// A swap is no matter for keepalived at all.
func TestReload(t *testing.T) {
	s := newSite(t, true)
	master, backup := s.settled()
	load := s.load(4, 2)
	began := time.Now()
	for _, n := range []*node{backup, master} {
		n.Deploy(flow.Build(t, "nethttp", "v2", ""))
		n.Control("reload")
	}
	took := time.Since(began)
	load.Reaches(master.PID(), 50)
	if now, _ := s.settled(); now != master {
		t.Error("the address has moved")
	}
	if n := load.Reconnects(); n != 0 {
		t.Errorf("%d reconnects, want 0", n)
	}
	load.Report(name, "reload of both nodes (in-place swap)", took)
}

// A version that does not start stops the upgrade at the first node, which gets its old one back.
func TestBroken(t *testing.T) {
	s := newSite(t, true)
	master, backup := s.settled()
	load := s.load(4, 2)
	began := time.Now()
	said := s.release(1, "upgrade "+flow.Build(t, "nethttp", "v2", "crash"))
	if !strings.Contains(said, backup.name+" failed, and has its old version back") {
		t.Errorf("it does not say that %s has failed", backup.name)
	}
	for _, n := range s.nodes {
		if version := n.Version(); version != "v1" {
			t.Errorf("node %s runs %s, want v1", n.name, version)
		}
	}
	if now, _ := s.settled(); now != master {
		t.Error("the address has moved")
	}
	s.release(0, "rollback")
	s.release(0, "upgrade "+flow.Build(t, "nethttp", "v3", ""))
	took := time.Since(began)
	s.settled()
	load.Flows(50)
	load.Report(name, "a broken version, then a good one", took)
}
