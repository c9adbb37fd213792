//go:build linux

package haproxy

import (
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestAgent: HAProxy heeds an agent's answer at once, so that a stop takes one
// interval and not three; and what takes "drain" back is the next process.
func TestAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "agent.cfg"), "2s", long...)
	load := flow.NewLoad(t, s.Addr, 6, 3)
	s.a.Control("pull")
	if st := s.server("a"); !strings.HasPrefix(st["status"], "DRAIN") {
		t.Errorf("the pull is noticed, and HAProxy says %q, want DRAIN", st["status"])
	}
	if st := s.a.Status(); len(st.Probers) != 1 || st.Probers[0].Needs != 1 {
		t.Errorf("probers: %+v, want the agent-check alone, which needs one answer", st.Probers)
	}
	s.a.Control("restore")
	s.is("a", "UP")
	load.Reaches(s.a.PID(), 10)

	begun := time.Now()
	s.release(0, "complete", "upgrade "+flow.Build(t, "nethttp", "v2", ""))
	took := time.Since(begun)
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
		runs(t, n, "v2")
	}
	load.Report("HAProxy", "restart of both nodes, agent-check, `agent-inter 2s`", took)
}

// TestAgentAcrossSwaps: the port goes along, and HAProxy sees no gap.
func TestAgentAcrossSwaps(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "agent.cfg"), "200ms", "-probation", "200ms")
	load := flow.NewLoad(t, s.Addr, 6, 3)
	begun := time.Now()
	s.release(0, "complete", "upgrade "+flow.Build(t, "nethttp", "v2", ""), "METHOD=swap")
	took := time.Since(begun)
	s.release(1, "reload failed", "upgrade "+flow.Build(t, "nethttp", "v2", "crash"), "METHOD=swap")
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
	}
	if load.End().Reconnects() > 0 {
		t.Errorf("%d clients have lost their connection", load.Reconnects())
	}
	for _, name := range []string{"a", "b"} {
		if st := s.server(name); st["status"] != "UP" || st["chkdown"] != "0" || st["agent_status"] != "L7OK" &&
			st["agent_status"] != "* L7OK" {
			t.Errorf("%s: status %s, agent %s, %s times down", name, st["status"], st["agent_status"], st["chkdown"])
		}
	}
	load.Report("HAProxy", "swap of both nodes in place, agent-check", took)
}
