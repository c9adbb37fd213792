//go:build linux

package systemd

import (
	"testing"
	"time"
)

// TestRestartUnderLoad: systemd keeps the listening socket, and clients wait in its queue for the next process.
func TestRestartUnderLoad(t *testing.T) {
	b := newBed(t)
	b.conf("Environment=APP_IDLE_GRACE=10s") // clients on a busy machine may rest for seconds
	b.ctl(0, "start", "app")
	b.ctl(0, "reload", "app")
	old := b.serves(2, "v1")
	load := b.load(8, 4)
	for range 2 {
		b.ctl(0, "restart", "app")
		now := b.serves(1, "v1")
		if now == old {
			t.Fatal("the process is the old one")
		}
		old = now
		load.Flows(100)
	}
	load.End()
	t.Log(load)
	if load.Failed() > 0 { // a restart has nobody to hand connections to, so there are reconnects
		t.Errorf("%v, want 0 failed", load)
	}
	b.gentle()
}

// TestKill: the main process dies with what it had in hand, but nobody is refused; neither by the first
// generation nor by one that systemd did not start.
func TestKill(t *testing.T) {
	b := newBed(t)
	b.ctl(0, "start", "app")
	for round, generation := range []int{1, 2} {
		if generation == 2 {
			b.ctl(0, "reload", "app")
		}
		pid := b.serves(generation, "v1")
		load := b.load(8, 4)
		b.run("kill", "-9", pid)
		b.restarted(pid)
		b.serves(1, "v1")
		load.Flows(100)
		load.End()
		t.Log(load)
		// Each client can have had one request in the process's hands.
		if load.Refused() > 0 || load.Failed() > 8+4 {
			t.Errorf("%v, want 0 refused, at most 12 failed", load)
		}
		if n := b.show("NRestarts"); n != []string{"1", "2"}[round] {
			t.Errorf("%s restarts, want %d", n, round+1)
		}
	}
}

// TestWatchdog: a process that hangs is replaced, and one that doesn't is left alone, after a reload too.
func TestWatchdog(t *testing.T) {
	b := newBed(t)
	const watchdog = 10 * time.Second // a sign of life is due in half of it, and may be late
	b.conf("WatchdogSec=" + watchdog.String())
	b.ctl(0, "start", "app")
	b.ctl(0, "reload", "app")
	pid := b.serves(2, "v1")
	load := b.load(4, 0)
	time.Sleep(2 * watchdog)
	if got := b.serves(2, "v1"); got != pid {
		t.Fatalf("pid %s serves, want %s", got, pid)
	}
	b.run("kill", "-STOP", pid)
	b.restarted(pid)
	b.serves(1, "v1")
	load.Flows(100)
	if load.End().Refused() > 0 {
		t.Errorf("%v, want 0 refused", load)
	}
	if !b.says("Watchdog timeout") {
		t.Error("something else has replaced the process")
	}
}

// restarted waits until systemd has put another main process in the place of one.
func (b *bed) restarted(pid string) {
	b.t.Helper()
	b.eventually("systemd has restarted it", func() bool {
		main := b.show("MainPID")
		return b.show("SubState") == "running" && main != pid && main != "0"
	})
}
