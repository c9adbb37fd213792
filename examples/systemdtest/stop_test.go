//go:build linux

package systemdtest

import (
	"testing"
	"time"
)

// TestStopDrains: after a reload the main process is alien to systemd, which by itself would kill it at once. What is in
// flight is answered all the same, by whichever generation has it.
func TestStopDrains(t *testing.T) {
	for _, verb := range []string{"stop", "restart"} {
		for _, where := range []struct {
			name        string
			before      int // reloads before the slow request
			after       int // and while it is in flight
			generations int
		}{
			{"first", 0, 0, 1},
			{"main", 1, 0, 2},
			{"older", 0, 1, 2},
			{"oldest", 1, 2, 4},
		} {
			t.Run(verb+"/"+where.name, func(t *testing.T) {
				b := newBed(t)
				b.ctl(0, "start", "app")
				reload := func(times int) {
					for range times {
						b.ctl(0, "reload", "app")
					}
				}
				reload(where.before)
				// The main one, too, has something in flight; and is done with it earlier.
				pid := b.serves(where.before+1, "v1")
				s := b.slow(time.Duration(2+2*where.after) * time.Second)
				reload(where.after)
				main := b.serves(where.generations, "v1")
				quick := b.slow(500 * time.Millisecond)
				s.inFlight()

				b.ctl(0, verb, "app")
				s.answered(pid)
				quick.answered(main)
				b.gentle()
				if verb == "restart" {
					if now := b.serves(1, "v1"); now == main {
						t.Error("the process is the old one")
					}
					return
				}
				if state, result := b.show("ActiveState"), b.show("Result"); state != "inactive" || result != "success" {
					t.Errorf("%s, %s, want inactive, success", state, result)
				}
			})
		}
	}
}

// TestTimeoutsAreExtended: with next to no time by the unit's own settings, the service still takes the time that it is
// configured to need, for a reload and for a stop.
func TestTimeoutsAreExtended(t *testing.T) {
	b := newBed(t)
	b.conf("TimeoutStartSec=500ms", "TimeoutStopSec=500ms")
	b.ctl(0, "start", "app")
	b.deploy(build(t, "v2", ""))
	b.ctl(0, "reload", "app") // with a second of probation
	pid := b.serves(2, "v2")
	s := b.slow(2 * time.Second)
	b.ctl(0, "stop", "app")
	s.answered(pid)
	b.gentle()
}

// TestStopDuringReload: systemd then skips ExecStop, and sends SIGTERM by itself.
func TestStopDuringReload(t *testing.T) {
	for _, verb := range []string{"stop", "restart"} {
		t.Run(verb, func(t *testing.T) {
			b := newBed(t)
			b.ctl(0, "start", "app")
			b.ctl(0, "reload", "app")
			pid := b.serves(2, "v1")
			s := b.slow(3 * time.Second)
			b.ctl(0, "reload", "--no-block", "app")
			b.eventually("the swap is under way", func() bool { return b.status().Phase == "swapping" })
			b.ctl(0, verb, "app")
			s.answered(pid)
			if verb == "restart" {
				b.serves(1, "v1")
			}
			b.gentle()
		})
	}
}
