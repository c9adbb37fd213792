package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is on its way between the two, in either direction.
const (
	promotes = "promoted"
	wanted   = "promoted with the signal" // which came before
	signal   = "the signal"
	refuses  = "stop"
	serves   = "serving"
)

// world is two processes in a swap, and all that is on its way between them.
type world struct {
	old Old
	new New

	oldLives, newLives   bool
	oldHalted, newHalted bool
	oldDoors, newDoors   bool
	oldDeaf, newDeaf     bool // has seen the end of the link

	announcing, sending bool // effects of the old side that have not ended
	proving, saying     bool // and of the new one
	readyByte           bool // in tableflip's pipe
	toNew, toOld        string

	// A signal by the number in the PID file, once.
	sent, oldHas, newHas bool

	cut, refused, killed, mute bool // faults that have happened
	halts                      int
}

func (w world) String() string {
	type plain world
	return fmt.Sprintf("%+v", plain(w))
}

// The wires are strings so that a world can be a key.
func push(wire *string, m string) { *wire += m + "|" }
func pop(wire *string) (m string) {
	for i := range *wire {
		if (*wire)[i] == '|' {
			m, *wire = (*wire)[:i], (*wire)[i+1:]
			return m
		}
	}
	return ""
}

func (w *world) stepOld(e OldEvent) {
	var effects []OldEffect
	w.old, effects = w.old.Step(e)
	for _, f := range effects {
		switch f {
		case Announce:
			w.announcing = true
		case Promote:
			w.sending = true
			w.tell(map[bool]string{false: promotes, true: wanted}[w.oldHas])
		case LetGo:
			w.oldDoors = false
		case AskToLeave:
			w.tell(refuses)
		case Kill:
			w.newLives, w.newDoors, w.proving, w.saying = false, false, false, false
		case PassOn:
			if w.oldHas {
				w.tell(signal)
			}
		case TakeBack:
		}
	}
}

// tell puts a message on the wire; it may still be refused, see moves.
func (w *world) tell(m string) {
	if w.newLives && !w.cut {
		push(&w.toNew, m)
	}
}

func (w *world) stepNew(e NewEvent) {
	var effects []NewEffect
	w.new, effects = w.new.Step(e)
	for _, f := range effects {
		switch f {
		case SayReady:
			w.readyByte = true
		case TakeOver:
			w.newDoors, w.saying = true, true
		case Leave:
			w.newLives, w.newDoors, w.saying, w.proving = false, false, false, false
		}
	}
}

// moves are all that can happen next, by name; with faults, those that somebody provokes too.
func (w world) moves(faults bool) map[string]world {
	next := make(map[string]world)
	try := func(name string, possible bool, f func(*world)) {
		if possible {
			v := w
			f(&v)
			next[name] = v
		}
	}
	old, new := w.oldLives && !w.oldHalted, w.newLives && !w.newHalted

	try("old hears ready", old && w.readyByte, func(v *world) { v.readyByte = false; v.stepOld(ChildReady) })
	try("old has announced", old && w.announcing, func(v *world) { v.announcing = false; v.stepOld(Announced) })
	try("old has promoted", old && w.sending, func(v *world) { v.sending = false; v.stepOld(Promoted) })
	try("old hears", old && w.toOld != "", func(v *world) {
		m := pop(&v.toOld)
		if m == serves && v.newLives { // a process that is dead by then serves nobody
			v.stepOld(ChildServes)
		}
	})
	try("old sees the end", old && !w.newLives && w.toOld == "" && !w.old.Over(), func(v *world) { v.stepOld(ChildGone) })
	try("old sees that the link is cut", old && w.cut && w.newLives && w.toOld == "" &&
		!w.oldDeaf, func(v *world) { v.oldDeaf = true; v.stepOld(ChildDeaf) })
	try("old has waited long", old && (w.old.Phase == Waiting || w.old.Phase == Leaving), func(v *world) {
		v.old.Ticks = max(ServeTicks, LeaveTicks)
		v.stepOld(OldTick)
	})
	try("old gives up", old && w.old.Phase <= Announcing, func(v *world) { v.stepOld(GiveUp) })

	try("new is proven", new && w.proving, func(v *world) { v.proving = false; v.stepNew(Proven) })
	try("new fails", new && w.proving && w.oldLives, func(v *world) { v.proving = false; v.stepNew(Failed) })
	try("new says serving", new && w.saying, func(v *world) {
		v.saying = false
		if v.oldLives && !v.cut && !v.mute {
			push(&v.toOld, serves)
		}
	})
	try("new hears", new && w.toNew != "", func(v *world) {
		switch m := pop(&v.toNew); m {
		case promotes, wanted:
			v.stepNew(OldPromotes)
			v.newHas = v.newHas || m == wanted
		case signal:
			v.newHas = true
		case refuses:
			v.stepNew(OldRefuses)
		}
	})
	try("new sees the end", new && (!w.oldLives || w.cut) && w.toNew == "" &&
		!w.newDeaf, func(v *world) { v.newDeaf = true; v.stepNew(OldGone) })
	try("new has waited long", new && w.new.Phase == Awaiting && w.new.Trusts, func(v *world) {
		v.new.Ticks = PromoteTicks
		v.stepNew(NewTick)
	})
	if !faults {
		return next
	}

	try("a signal comes", old && !w.sent, func(v *world) {
		v.sent = true
		if v.old.Sent() && !v.mute {
			v.tell(signal)
		}
		v.oldHas = v.old.Phase != Retired
	})
	try("the word is refused", old && w.sending && !w.refused && strings.Contains(w.toNew, promotes), func(v *world) {
		v.refused, v.sending = true, false
		v.toNew = strings.NewReplacer(wanted+"|", "", promotes+"|", "").Replace(v.toNew)
		v.stepOld(NotPromoted)
	})
	try("the link is cut", !w.cut && w.oldLives && w.newLives, func(v *world) { v.cut = true })
	whole := !w.killed && !w.cut
	try("old is killed", whole && w.oldLives && w.newLives && w.old.Phase != Leaving &&
		w.old.Phase != Dying, func(v *world) {
		v.killed, v.oldLives, v.oldDoors, v.announcing, v.sending = true, false, false, false, false
	})
	try("new is killed", whole && w.newLives && w.old.Phase != Retired && w.oldLives, func(v *world) {
		v.killed, v.newLives, v.newDoors, v.proving, v.saying = true, false, false, false, false
	})
	try("old is halted", old && w.halts < 2, func(v *world) { v.halts++; v.oldHalted = true })
	try("new is halted", new && w.halts < 2, func(v *world) { v.halts++; v.newHalted = true })
	try("old goes on", w.oldLives && w.oldHalted, func(v *world) { v.oldHalted = false })
	try("new goes on", w.newLives && w.newHalted, func(v *world) { v.newHalted = false })
	return next
}

// somebody tells whether clients are served, or wait in the queue of a process that is about to serve them.
func (w world) somebody() bool {
	return w.oldLives && w.oldDoors || w.newLives && w.newDoors || !w.oldLives && w.newLives &&
		w.new.Phase != Left || w.killed && !w.oldLives && w.new.Phase == Left
}

// wrong says what is not as it should be where nothing can happen any more, unless somebody does something.
func (w world) wrong() string {
	oldMain := w.oldLives && w.oldDoors && w.old.Phase == Back
	newMain := w.newLives && w.newDoors && w.new.Phase == Main
	switch {
	case oldMain == newMain && !(w.killed && !w.oldLives && w.new.Phase == Left):
		return "not exactly one is main"
	case oldMain && w.newLives:
		return "the new one lives"
	case newMain && w.oldLives && w.oldDoors && !w.oldHalted:
		return "the old one accepts still"
	case w.sent && !w.cut && oldMain && !w.oldHas, w.sent && !w.cut && newMain && !w.newHas && w.oldLives &&
		!w.mute && !w.oldHalted:
		return "the signal is lost"
	}
	return ""
}

// Each step of a promotion, with each order in which messages and ticks can come; with either side killed, or
// halted for any time, up to twice; the word refused, or the link cut; and a signal at any moment: somebody
// accepts all the time, and in the end exactly one is the main one, and has the signal. With a new process of
// a version that doesn't say when it serves, that is so as long as nothing of this happens.
func TestSomebodyAcceptsAndOneIsMainInTheEnd(t *testing.T) {
	t.Parallel()
	for _, mute := range []bool{false, true} {
		first := world{oldLives: true, newLives: true, oldDoors: true, proving: true, mute: mute}
		first.old.Mute, first.new.Trusts = mute, !mute
		type way struct {
			from world
			by   string
		}
		seen := map[world]way{first: {}}
		path := func(w world) (p string) {
			for w != first {
				p = seen[w].by + "; " + p
				w = seen[w].from
			}
			return p
		}
		for queue := []world{first}; len(queue) > 0; queue = queue[1:] {
			w := queue[0]
			if !w.somebody() && !(mute && w.old.Phase == Retired) { // such a version is trusted with what it has not said
				t.Fatalf("nobody accepts after %s\n%v", path(w), w)
			}
			if w.old.Phase == Back && w.newLives {
				t.Fatalf("the old one is back while the new one lives after %s\n%v", path(w), w)
			}
			if len(w.moves(false)) == 0 && (!w.newHalted || !w.newLives) && (!w.oldHalted || !w.oldLives || w.newDoors) {
				if wrong := w.wrong(); wrong != "" {
					t.Fatalf("%s after %s\n%v", wrong, path(w), w)
				}
			}
			for name, v := range w.moves(!mute) {
				if _, ok := seen[v]; !ok {
					seen[v] = way{w, name}
					queue = append(queue, v)
				}
			}
		}
		t.Logf("mute %v: %d states", mute, len(seen))
	}
}

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
	for range PromoteTicks {
		n, _ = n.Step(NewTick)
	}
	if n.Phase != Main {
		t.Errorf("%+v", n)
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
