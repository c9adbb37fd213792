//go:build linux

package systemd

import (
	"testing"
	"time"
)

// TestStopDrains: after a reload the main process is alien to systemd, which by itself would kill it at once.
// What is in flight is answered all the same, by whichever generation has it.
func TestStopDrains(t *testing.T) {
	for _, verb := range []string{"stop", "restart"} {
		for _, where := range []struct {
			name   string
			before int // reloads before the request
			after  int // and while it is in flight
		}{
			{"first", 0, 0},
			{"main", 1, 0},
			{"older", 0, 1},
			{"oldest", 1, 2},
		} {
			t.Run(verb+"/"+where.name, func(t *testing.T) {
				b := newBed(t)
				b.ctl(0, "start", "app")
				for range where.before {
					b.ctl(0, "reload", "app")
				}
				early := b.hold()
				for range where.after {
					b.ctl(0, "reload", "app")
				}
				main := b.serves(1+where.before+where.after, "v1")
				late := b.hold()

				end := b.begin(verb, "app")
				b.draining()
				late.answered()
				if where.after > 0 {
					b.eventually("the older one is all that is left", func() bool {
						return b.says("waiting for older generations")
					})
				}
				if state := b.show("ActiveState"); state != "deactivating" {
					t.Errorf("%s while a request is in flight, want deactivating", state)
				}
				early.answered()
				end()
				b.gentle()
				if verb == "restart" {
					if now := b.serves(1, "v1"); now == main {
						t.Error("the process is the old one")
					}
					return
				}
				state, result := b.show("ActiveState"), b.show("Result")
				if state != "inactive" || result != "success" {
					t.Errorf("%s, %s, want inactive, success", state, result)
				}
			})
		}
	}
}

// TestStopDuringReload: systemd then skips ExecStop, and sends SIGTERM by itself.
func TestStopDuringReload(t *testing.T) {
	for _, verb := range []string{"stop", "restart"} {
		t.Run(verb, func(t *testing.T) {
			b := newBed(t)
			b.ctl(0, "start", "app")
			b.ctl(0, "reload", "app")
			h := b.hold()
			b.swapping("systemctl", "reload", "--no-block", "app")
			end := b.begin(verb, "app")
			b.draining()
			h.answered()
			end()
			if verb == "restart" {
				b.serves(1, "v1")
			}
			b.gentle()
		})
	}
}

// TestTimeoutsAreExtended: where the unit's own timeouts are too short, the service still takes the time that it is
// configured to need, for a reload and for a stop.
func TestTimeoutsAreExtended(t *testing.T) {
	const timeout, longer = "10s", "15s" // a busy machine takes seconds to start a process
	b := newBed(t)
	b.conf("TimeoutStartSec="+timeout, "TimeoutStopSec="+timeout,
		"ExecStart=", "ExecStart="+app+" -addr "+addr+" -control "+control+" -probation "+longer)
	b.ctl(0, "start", "app")
	b.deploy(build(t, "v2", ""))
	b.ctl(0, "reload", "app")
	b.serves(2, "v2")
	h := b.hold()
	end := b.begin("stop", "app")
	b.draining()
	d, _ := time.ParseDuration(longer)
	time.Sleep(d)
	h.answered()
	end()
	b.gentle()
}
