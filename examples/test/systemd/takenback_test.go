//go:build linux

package systemd

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestTakenBack: the new process stands still just when systemd has heard that it is the main one. The old
// one serves on and takes that back, which systemd believes with NotifyAccess=all. With NotifyAccess=main it
// follows a dead process, until the watchdog's time is over: then it starts the service again.
func TestTakenBack(t *testing.T) {
	for _, access := range []string{"all", "main"} {
		t.Run(access, func(t *testing.T) {
			b := newBed(t)
			b.conf("NotifyAccess="+access, "WatchdogSec=20s", "Environment=LOG_LEVEL=debug")
			b.ctl(0, "start", "app")
			pid := b.serves(1, "v1")
			load := b.load(8, 2)
			out, _ := b.bed("pid")
			systemd, err := strconv.Atoi(strings.TrimSpace(out))
			if err != nil {
				t.Fatal(err)
			}
			// Before the child can be the main one, systemd is to say that it knows.
			_ = syscall.Kill(systemd, syscall.SIGSTOP)
			b.run("kill", "-HUP", pid)
			b.eventually("the new one is ready", func() bool { return b.says("next generation is ready") })
			child := strings.TrimSpace(b.run("sh", "-c", "cat /proc/"+pid+"/task/*/children"))
			b.run("kill", "-STOP", child)
			_ = syscall.Kill(systemd, syscall.SIGCONT)
			b.eventually("systemd follows the new one", func() bool { return b.show("MainPID") == child })
			b.eventually("it is taken back", func() bool { return b.says("swap failed") })
			load.Flows(100)
			if access == "all" {
				b.eventually("systemd follows the old one", func() bool { return b.show("MainPID") == pid })
				b.ctl(0, "reload", "app")
				b.serves(2, "v1")
				load.Flows(100)
				load.Lossless()
				b.stopDrains()
				return
			}
			if main := b.show("MainPID"); main != child {
				t.Errorf("MainPID is %s, want %s, which is dead", main, child)
			}
			b.restarted(child)
			b.serves(1, "v1")
			load.Flows(100)
			if load.End().Refused() > 0 {
				t.Errorf("%v, want 0 refused", load)
			}
			if !b.says("Watchdog timeout") {
				t.Error("something else has replaced the process")
			}
		})
	}
}
