package drain_test

import (
	"testing"
	"time"
)

// A version that does not know Lead, between two that do, hands on what it does not understand as far as the
// new one needs it.
func TestTwoVersionsLead(t *testing.T) {
	v := bothVersions(t)
	s, open := startAt(t, "gated", plan{Leads: []string{"gated", "one"}, MaxGenerations: 8, DrainTimeout: 2 * hung})
	s.await(0, "gated", noted(1, "gated begun"))
	v.swapTo(s, "old")
	s.noteSince(0, s.pgid, "gated told")
	for s.awaitOlder(1); s.status().Older[0].Tasks != 1; { // the last that changes for now, to the old version
		time.Sleep(time.Millisecond)
	}
	v.swapTo(s, "new")
	s.await(0, "one", noted(3, "one begun")) // soon after, since generation 1 says again what it leads
	for _, r := range s.since(0) {
		if r.Gen > 1 && r.Note == "gated begun" {
			t.Error(r)
		}
	}
	open()
	s.await(0, "gated", noted(3, "gated begun"))
	s.wantExit(s.pgid, 0)
	v.swapTo(s, "old")
	s.noteSince(0, 0, "gated told")
	v.swapTo(s, "new")
	s.await(0, "gated", noted(5, "gated begun"))
	s.stop()
	s.wantNoOverlap()
	s.wantOrder(noted(1, "gated ended"), noted(3, "gated begun"), noted(3, "gated ended"), noted(5, "gated begun"))
}
