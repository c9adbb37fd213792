package machine

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A pull and a swap, or a restore, in the same instant may be delivered in any order: the pull holds. An
// older pull ends.
func TestPullInTheSameInstant(t *testing.T) {
	t.Parallel()
	const pull, restore, swap = Pull, Restore, Swap
	const later = time.Second
	for _, c := range []struct {
		name  string
		verbs []Verb
		after []time.Duration // the one before
		holds bool
	}{
		{"pull, swap", []Verb{pull, swap}, []time.Duration{0, 0}, true},
		{"swap, pull", []Verb{swap, pull}, []time.Duration{0, 0}, true},
		{"pull, later swap", []Verb{pull, swap}, []time.Duration{0, later}, false},
		{"swap, later pull", []Verb{swap, pull}, []time.Duration{0, later}, true},
		{"swap, pull, restore", []Verb{swap, pull, restore}, []time.Duration{0, 0, 0}, true},
		{"swap, restore, pull", []Verb{swap, restore, pull}, []time.Duration{0, 0, 0}, true},
		{"pull, restore, swap", []Verb{pull, restore, swap}, []time.Duration{0, 0, 0}, true},
		{"swap, pull, later restore", []Verb{swap, pull, restore}, []time.Duration{0, 0, later}, false},
		{"pull, later restore and swap", []Verb{pull, restore, swap}, []time.Duration{0, later, 0}, false},
		{"restore, later swap and pull", []Verb{restore, swap, pull}, []time.Duration{0, later, 0}, true},
	} {
		at := time.Now()
		s := New(Setting{}, at)
		for i, v := range c.verbs {
			at = at.Add(c.after[i])
			s, _ = s.Step(Signaled{Verb: v, Signal: os.Interrupt, At: at}, at)
		}
		if !s.Later.Swap || s.Later.AfterSwap().Pull != c.holds {
			t.Errorf("%s: %+v", c.name, s.Later)
		}
	}
}

// A signal that ends the context of Run, too, as that of signal.NotifyContext, is one wish in either order: the next
// signal leaves now.
func TestSignalThatEndsTheContextToo(t *testing.T) {
	t.Parallel()
	term := Signaled{Verb: Stop, Signal: os.Interrupt, At: time.Now()}
	for name, both := range map[string][]Event{
		"the signal first": {term, ContextOver{}}, "the context first": {ContextOver{}, term},
	} {
		s := New(Setting{}, term.At)
		for _, e := range append([]Event{RunCalled{}, ReadyReturned{}, Prepared{}, Acquired{}}, both...) {
			s, _ = s.Step(e, term.At)
		}
		if !s.Stopping || s.Cutting {
			t.Errorf("%s: %+v", name, s)
		}
		if s, _ = s.Step(Signaled{Verb: Stop, Signal: os.Interrupt, At: term.At}, term.At); !s.Cutting {
			t.Errorf("%s, and another: %+v", name, s)
		}
	}
}

// A second signal to stop waits for what the owners have released. It waits for nothing where they could not release.
func TestASecondSignalWaitsForWhatIsReleased(t *testing.T) {
	t.Parallel()
	begun := []Event{RunCalled{Owns: true}, ReadyReturned{}, Prepared{}, Acquired{}, signal(Swap),
		childHas(lifecycle.ChildReady)}
	for name, c := range map[string]struct {
		then []Event
		cuts bool
	}{
		"released":      {[]Event{childHas(lifecycle.Announced), childHas(lifecycle.ChildGone)}, false},
		"can't release": {[]Event{NotReleased{1, "why"}}, true},
	} {
		s := New(Setting{}, t0)
		for _, e := range slices.Concat(begun, c.then, []Event{signal(Stop), signal(Stop)}) {
			s, _ = s.Step(e, t0)
		}
		if s.Cutting != c.cuts || s.Child.Hasty == c.cuts {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
