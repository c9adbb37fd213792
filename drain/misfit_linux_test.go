package drain_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// speaks is what a version of the library speaks, and the oldest that it can be swapped with.
type speaks [2]int

// silent is d47d631, which says nothing of what it speaks.
var silent speaks

// A swap between versions that don't fit fails with a sentence that says so, whichever of the two notices.
// Versions that fit are swapped, however much one of them has to say that the other does not know.
func TestSwapToAVersionThatDoesNotFitFails(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		old, new speaks
		reason   string // "": they fit
	}{
		"the new one is too new": {speaks{2, 1}, speaks{3, 3}, "of the protocol between generations, this one"},
		"the old one is too new": {speaks{3, 3}, speaks{2, 1}, "of the protocol between generations, this one"},
		"the new one is silent": {speaks{2, 2}, silent,
			"speaks version 1 of the protocol between generations, this one needs 2"},
		"the old one is silent": {silent, speaks{2, 2},
			"speaks version 1 of the protocol between generations, this one needs 2"},
		"the new one is newer, fits": {speaks{2, 1}, speaks{9, 2}, ""},
		"the old one is newer, fits": {speaks{9, 2}, speaks{2, 1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var v versions
			if x.old == silent || x.new == silent {
				v = bothVersions(t)
			}
			deploy := func(s *service, as speaks) {
				s.plan.Speaks = as
				if as == silent {
					v.deploy(s, "old")
				} else {
					s.install()
				}
			}
			s := start(t, plan{Speaks: x.old}, func(s *service, _ *exec.Cmd) { deploy(s, x.old) })
			l := s.drive(4, 4*time.Millisecond)
			if x.reason != "" {
				s.wantFailure(l, x.reason, func() { deploy(s, x.new); s.replan() })
				if err := s.event(1, "swap failed").Err; !strings.Contains(err,
					"swap to a version of the library between the two first") {
					t.Errorf("%s; want a cure", err)
				}
				x.new = x.old
			}
			deploy(s, x.new)
			s.replan()
			s.swap()
			l.end()
			s.stop()
			s.wantNothingLost()
		})
	}
}
