//go:build linux

package systemd

import (
	"strings"
	"testing"
)

// TestKillDuringReload: whichever of the two dies in the middle, the unit comes back to "running" and nobody
// is refused.
func TestKillDuringReload(t *testing.T) {
	t.Run("new", func(t *testing.T) {
		b := newBed(t)
		b.ctl(0, "start", "app")
		b.ctl(0, "reload", "app")
		pid := b.serves(2, "v1")
		load := b.load(8, 2)
		b.swapping("systemctl", "reload", "--no-block", "app")
		var child string
		b.eventually("the new one is there", func() bool {
			child = strings.TrimSpace(b.run("sh", "-c", "cat /proc/"+pid+"/task/*/children"))
			return child != ""
		})
		b.run("kill", "-9", child)
		b.eventually("the unit is running again", func() bool { return b.show("SubState") == "running" })
		if got := b.serves(2, "v1"); got != pid {
			t.Errorf("pid %s serves, want %s", got, pid)
		}
		load.Flows(100)
		load.Lossless()
		b.ctl(0, "reload", "app")
		b.serves(3, "v1")
	})
	t.Run("old", func(t *testing.T) {
		b := newBed(t)
		b.ctl(0, "start", "app")
		b.ctl(0, "reload", "app")
		pid := b.serves(2, "v1")
		load := b.load(8, 2)
		b.swapping("systemctl", "reload", "--no-block", "app")
		b.run("kill", "-9", pid)
		b.restarted(pid)
		load.Flows(100)
		load.End()
		t.Log(load)
		if load.Refused() > 0 {
			t.Errorf("%v, want 0 refused", load)
		}
		who := b.whoami()
		b.serves(who.Generation, "v1")
		b.ctl(0, "reload", "app")
		b.serves(who.Generation+1, "v1")
	})
	t.Run("main while its parent drains", func(t *testing.T) {
		b := newBed(t)
		b.ctl(0, "start", "app")
		h := b.hold()
		b.ctl(0, "reload", "app")
		pid := b.serves(2, "v1")
		b.run("kill", "-9", pid)
		h.answered()
		b.restarted(pid) // now: the parent alone was told by the kernel, and systemd by the parent's end
		b.serves(1, "v1")
	})
}

// TestSignalAndReexec: a swap by signal is one to systemd too, which may meanwhile forget all that it does
// not write down.
func TestSignalAndReexec(t *testing.T) {
	b := newBed(t)
	b.ctl(0, "start", "app")
	load := b.load(8, 2)
	for i, also := range []string{"daemon-reload", "daemon-reexec"} {
		b.run("kill", "-HUP", b.serves(i+1, "v1"))
		b.ctl(0, also)
		b.eventually("it is over", func() bool {
			return b.whoami().Generation == i+2 && b.show("SubState") == "running"
		})
		b.serves(i+2, "v1")
		load.Flows(100)
	}
	load.Lossless()
	b.swapping("kill", "-HUP", b.serves(3, "v1"))
	b.stopDrains() // without ExecStop
}
