//go:build linux

package systemd

import (
	"strings"
	"testing"
)

// TestSimple: systemd ends a unit of another type than notify with the process that it has started. That is the keeper,
// which stays. Without one, a reload is refused with the reason, and nobody notices.
func TestSimple(t *testing.T) {
	t.Run("newer", func(t *testing.T) { t.Parallel(); simple(t, newerBed) })
	simple(t, func(t *testing.T) *bed { return newBed(t) })
}

func simple(t *testing.T, boot func(*testing.T) *bed) {
	for _, x := range []struct {
		name, kind, reload, flags string
		generation                int
	}{
		{"simple", "simple", "/bin/kill -HUP $MAINPID", " -keeper auto", 2},
		{"exec", "exec", app + " -s reload -control " + control, " -keeper auto", 2},
		{"no keeper, by a signal", "simple", "/bin/kill -HUP $MAINPID", " -keeper never", 1},
		{"no keeper, by a command", "exec", app + " -s reload -control " + control, " -keeper never", 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := boot(t)
			b.conf("Type="+x.kind, "NotifyAccess=none", "WatchdogSec=0", "FileDescriptorStoreMax=0",
				"ExecStart=", "ExecStart="+app+" -addr "+addr+" -control "+control+x.flags,
				"ExecReload=", "ExecReload="+x.reload)
			b.ctl(0, "start", "app")
			b.eventually("the service listens", func() bool { // systemd does not know when it is ready
				nc, err := b.dial()
				if err == nil {
					_ = nc.Close()
				}
				return err == nil
			})
			load := b.load(8, 1)
			b.deploy(build(t, "v2", ""))
			switch {
			case x.generation == 2:
				b.ctl(0, "reload", "app") // kill(1) does not wait for it
				b.eventually("generation 2 answers", func() bool { return b.whoami().Generation == 2 })
			case strings.Contains(x.reload, "kill"):
				b.ctl(0, "reload", "app") // kill(1) has no other answer
				b.eventually("the reason in the journal", func() bool { return b.says("Type=notify") })
			default:
				b.ctl(-1, "reload", "app")
			}
			load.Flows(50)
			if who := b.whoami(); who.Generation != x.generation {
				t.Errorf("generation %d answers; want %d", who.Generation, x.generation)
			}
			load.Lossless()
			if state, n := b.show("ActiveState"), b.show("NRestarts"); state != "active" || n != "0" {
				t.Errorf("%s after %s restarts; want active, none", state, n)
			}
			b.ctl(0, "stop", "app")
		})
	}
}
