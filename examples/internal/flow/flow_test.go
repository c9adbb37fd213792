//go:build linux

package flow

import (
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// TestLoadSeesALoss: a check that can't fail would show nothing.
func TestLoadSeesALoss(t *testing.T) {
	n := NewNode(t, Host()+":8080", Build(t, "nethttp", "v1", ""), "-pull-max", "1s")
	n.Control("start")
	load := NewLoad(t, n.Addr, 4, 2)
	n.Control("reload")
	load.Reaches(n.PID(), 50)
	if load.Failed() > 0 || load.Reconnects() > 0 {
		t.Fatalf("after a reload: %v, want 0 failed, 0 reconnects", load)
	}
	killUnder(n.Dir, 9)
	load.Flows(20)
	if load.End().Failed() == 0 {
		t.Errorf("after a kill -9: %v, want some failed", load)
	}
}
