//go:build linux

package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestConsul does everything to both nodes, one after the other. The catalog
// says each time what is the matter, and the clients see nothing of it.
func TestConsul(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.wantEntry(0, "passing")
	s.wantEntry(1, "passing")

	t.Run("swap", func(t *testing.T) {
		before := s.entries()
		load := flow.NewLoad(t, s.front(), 8, 4)
		start := time.Now()
		for i, n := range s.nodes {
			n.Deploy(flow.Build(t, "deploy/consul", "v2", ""))
			s.control(i, "reload")
			load.Reaches(n.PID(), 20)
		}
		load.Report("Consul and HAProxy", "swap both nodes", time.Since(start))
		if load.Reconnects() > 0 {
			t.Errorf("%d reconnects, want 0", load.Reconnects())
		}
		// A busy machine may miss the second that a check has.
		s.wantEntry(0, "passing")
		s.wantEntry(1, "passing")
		if after := s.entries(); after[s.id(0)] != before[s.id(0)] || after[s.id(1)] != before[s.id(1)] {
			t.Errorf("the catalog was %v and is %v, want it untouched", before, after)
		}
	})

	t.Run("pull", func(t *testing.T) {
		load := flow.NewLoad(t, s.front(), 8, 4)
		start := time.Now()
		for i, n := range s.nodes {
			s.control(i, "pull")
			s.wantEntry(i, "maintenance")
			s.wantUp(s.nodes[1-i])
			load.Flows(50)
			s.control(i, "restore")
			s.wantEntry(i, "passing")
			s.wantUp(s.nodes[0], s.nodes[1])
			load.Reaches(n.PID(), 20)
		}
		load.Report("Consul and HAProxy", "pull and restore both nodes", time.Since(start))
	})

	t.Run("restart", func(t *testing.T) {
		load := flow.NewLoad(t, s.front(), 8, 4)
		start := time.Now()
		for i, n := range s.nodes {
			s.control(i, "stop")
			s.wantEntry(i, "")
			load.Flows(50)
			s.control(i, "start")
			s.wantEntry(i, "passing")
			s.wantUp(s.nodes[0], s.nodes[1])
			load.Reaches(n.PID(), 20)
		}
		load.Report("Consul and HAProxy", "stop and start both nodes", time.Since(start))
	})
}

// TestConsulAway: a registry that is away must cost nobody anything. HAProxy
// keeps the nodes that it knew, and its own checks see the pull.
func TestConsulAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	load := flow.NewLoad(t, s.front(), 8, 4)
	start := time.Now()
	s.agent.End()
	s.control(0, "reload")
	s.control(0, "stop")
	s.wantUp(s.nodes[1])
	load.Flows(50)
	s.control(0, "start")
	s.wantUp(s.nodes[0], s.nodes[1])
	load.Reaches(s.nodes[0].PID(), 20)
	for time.Since(start) < 35*time.Second { // HAProxy's defaults hold out for 30
		load.Flows(50)
	}
	s.startAgent()
	// It has kept the entry, which nobody could deregister, and is told anew.
	s.wantEntry(0, "passing")
	s.wantEntry(1, "passing")
	s.wantUp(s.nodes[0], s.nodes[1])
	load.Flows(50)
	load.Report("Consul and HAProxy", "stop and start a node while Consul is away", time.Since(start))
}

// TestKilledNode: nobody has said that it leaves, so its check does. It comes
// back under the same id.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.control(0, "pull") // and what Consul remembers of that must not stay
	s.wantEntry(0, "maintenance")
	if err := syscall.Kill(s.nodes[0].PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.nodes[1].PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wantEntry(1, "critical")
	s.wantUp()
	before := s.entries()
	for i := range s.nodes {
		s.control(i, "start")
		s.wantEntry(i, "passing")
	}
	s.wantUp(s.nodes[0], s.nodes[1])
	after := s.entries()
	for i := range s.nodes {
		if len(after) != 2 || after[s.id(i)].created != before[s.id(i)].created {
			t.Errorf("the catalog was %v and is %v, want the same two entries", before, after)
		}
	}
	load := flow.NewLoad(t, s.front(), 4, 2)
	load.Reaches(s.nodes[0].PID(), 20)
	load.Reaches(s.nodes[1].PID(), 20)
	if load.End().Failed() > 0 {
		t.Error(load)
	}
}
