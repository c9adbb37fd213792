package lifecycle

import (
	"slices"
	"testing"
)

// A side that is left alone comes to an end by itself, within its ticks.
func TestNoSideWaitsForEver(t *testing.T) {
	t.Parallel()
	for p := Starting; p <= Back; p++ {
		o := Old{Phase: p}
		var killed bool
		for range ServeTicks + LeaveTicks {
			var effects []OldEffect
			o, effects = o.Step(OldTick)
			killed = killed || slices.Contains(effects, Kill)
		}
		if want := p == Waiting || p == Leaving; killed != want {
			t.Errorf("phase %d: killed %v", p, killed)
		}
	}
	n := New{Phase: Awaiting, Trusts: true}
	owns := New{Phase: Awaiting, Trusts: true, Owns: true}
	for range PromoteTicks {
		n, _ = n.Step(NewTick)
		owns, _ = owns.Step(NewTick)
	}
	if n.Phase != Acquiring || owns.Phase != Awaiting {
		t.Errorf("%+v; with owners %+v", n, owns)
	}
}

// What comes at a time when it means nothing changes nothing.
func TestNoEventIsAStepBack(t *testing.T) {
	t.Parallel()
	for p := Starting; p <= Back; p++ {
		for e := range oldEventsEnd {
			o, effects := Old{Phase: p}.Step(e)
			if o.Phase != p && o.Phase < p && o.Phase != Retired && p != Leaving ||
				(p == Retired && e != NotPromoted || p == Back) && len(effects) > 0 {
				t.Errorf("phase %d, event %d: %+v, %v", p, e, o, effects)
			}
		}
	}
	for p := Candidate; p <= Left; p++ {
		for e := range newEventsEnd {
			if n, _ := (New{Phase: p}).Step(e); n.Phase < p {
				t.Errorf("phase %d, event %d: %+v", p, e, n)
			}
		}
	}
}

// A word that comes again, or was there when this generation took over, is not taken in once more.
func TestTheWordOfTheOldCountsOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		events   []NewEvent
		inherits int
	}{
		{[]NewEvent{OldPromotes, Acquired, OldPromotes}, 0},
		{[]NewEvent{OldGone, OldPromotes, Acquired, OldPromotes}, 0},
		{[]NewEvent{OldGone, Acquired, OldPromotes, OldPromotes}, 1},
	} {
		n, inherits := New{Phase: Awaiting}, 0
		for _, e := range c.events {
			var effects []NewEffect
			if n, effects = n.Step(e); slices.Contains(effects, Inherit) {
				inherits++
			}
		}
		if n.Phase != Main || inherits != c.inherits {
			t.Errorf("%v: %+v, inherits %d times, want %d", c.events, n, inherits, c.inherits)
		}
	}
}
