//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// newerBed is a bed of systemd 253 or newer, which the variable can name where the machine's own is older.
func newerBed(t *testing.T) *bed {
	t.Helper()
	if tree := os.Getenv("BATON_SYSTEMD"); tree != "" {
		return newBed(t, "BED_ADD="+tree)
	}
	out, _ := exec.Command("systemctl", "--version").Output() // "systemd 252 (252.39-1~deb12u2)" and more
	if f := strings.Fields(string(out)); len(f) > 1 {
		if v, _ := strconv.Atoi(f[1]); v < 253 {
			missing(t, "systemd "+f[1]+" knows no notify-reload: "+
				"examples/deploy/systemd/bed.sh fetch DIR unpacks a newer one, for BATON_SYSTEMD=DIR")
		}
	}
	return newBed(t)
}

// TestNewer: reload, stop and restart with a newer systemd.
func TestNewer(t *testing.T) {
	b := newerBed(t)
	reloads(b, 3)
	b.ctl(0, "restart", "app")
	b.serves(1, "v2")
	b.ctl(0, "reload", "app")
	b.serves(2, "v2")
	b.stopDrains()
}

// TestNotifyReload: systemd sends SIGHUP by itself, and waits for the outcome, though it can't tell that it is bad.
func TestNotifyReload(t *testing.T) {
	b := newerBed(t)
	b.put("../../deploy/systemd/notify-reload.conf", dropIn+"notify-reload.conf")
	b.ctl(0, "daemon-reload")
	reloads(b, 3)
	pid := b.serves(4, "v2")

	b.deploy(build(t, "bad", "crash"))
	load := b.load(8, 2)
	b.ctl(0, "reload", "app")
	if got := b.serves(4, "v2"); got != pid {
		t.Fatalf("pid %s serves, want %s", got, pid)
	}
	if status := b.show("StatusText"); !strings.Contains(status, "reload failed") {
		t.Errorf("status %q, want one that says that the reload failed", status)
	}
	load.Flows(200)
	load.Lossless()

	b.stopDrains()
}
