package machine

import (
	"fmt"
	"testing"
)

// accepts tells whether clients are served, or wait in the queue of a process that is about to serve them.
func (l *live) accepts() bool {
	if l.wish.stop || l.wish.mayStop {
		return true
	}
	for i := range l.gens {
		if l.serves(i) || l.mute && l.lives(i) { // such a version is trusted with what it has not said
			return true
		}
	}
	return l.dark > 0
}

// ended says what is not as it should be where nothing can happen any more, unless somebody does something.
func (l *live) ended() string {
	mains, lives, hopes := 0, 0, false
	var main int
	for i := range l.gens {
		if l.serves(i) {
			mains, main = mains+1, i
		}
		if l.lives(i) {
			lives++
		}
		hopes = hopes || i >= int(l.dark) && l.gens[i] != 0 && !l.lost[i] && !l.freak[i]
	}
	heard := true // every command came to a process that could pass it on
	for i, to := range l.wish.to {
		heard = heard && !(to && (l.freak[i] || l.lost[i]))
	}
	heard = heard && !l.cut
	w := l.wish
	switch {
	case w.stop && heard && lives > 0:
		return "the stop is forgotten"
	case (w.stop || w.mayStop) && lives == 0:
		return ""
	case mains == 0 && l.dark > 0 && !hopes:
		return ""
	case w.early && (l.cut || l.killed): // the one between the two others, which no link tells the oldest
		return ""
	case mains != 1 || lives != 1:
		return fmt.Sprintf("%d are main, %d live", mains, lives)
	case !heard || w.stop || w.mayStop:
		return ""
	case w.pulled && !l.at(main).Pulled:
		return "the pull is forgotten"
	case w.unpulled && l.at(main).Pulled:
		return "nobody has pulled it"
	case w.swap:
		return "the swap is forgotten"
	}
	return ""
}

// shared says that two generations have at a time what their owners stand for. Where a link breaks between two that
// live, the new one takes the old one for dead, until that kills it.
func (l *live) shared() bool {
	holders := 0
	for i := range l.gens {
		if l.holds(i) {
			holders++
		}
	}
	return holders > 1 && !l.cut
}

// Three generations, each with the whole machine, and all that is on its way between them: in every order, with
// signals at any moment to any of them, either of them killed or late at any moment, links that are cut, words that
// are lost, owners that can't release or acquire. Somebody accepts all the time, no two generations have at a time what
// their owners stand for, in the end exactly one generation lives and is the main one, a stop ends them all, the last
// pull or restore holds, and each signal to swap is followed by a swap.
func TestWhateverHappensToASwapSomebodyServes(t *testing.T) {
	t.Parallel()
	all := [3]bool{true, true, true}
	for _, c := range []struct {
		commands, faults int8
		slow, once, mute bool // once: no signal asks for another swap
		owns             [3]bool
	}{
		{commands: 2},
		{commands: 1, slow: true},
		{commands: 1, faults: 1},
		{commands: 1, faults: 1, slow: true, once: true},
		{faults: 3, slow: true},
		{mute: true},
		{commands: 2, owns: all},
		{commands: 1, faults: 1, slow: true, owns: all},
		{faults: 3, slow: true, owns: all},
		{faults: 1, slow: true, owns: [3]bool{false, true, true}},
		{faults: 1, slow: true, owns: [3]bool{true, false, true}},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			l := begin(newCensus(), [2]int8{c.commands, c.faults}, c.owns)
			l.mute, l.once = c.mute, c.once
			explore(t, l, c.slow)
		})
	}
}

func newCensus() *census {
	c := &census{numbers: map[process]int32{}, changed: map[change]int32{}, heeded: map[heeding]outcome{}}
	c.number(process{State: State{Phase: "none"}})
	dead := process{State: State{Phase: Stopped}}
	dead.blur()
	c.number(dead)
	return c
}

func explore(t *testing.T, first *live, slow bool) {
	type way struct {
		from int32
		by   string
	}
	all, ways := []world{first.world}, []way{{}}
	seen := map[world]int32{first.world: 0}
	path := func(i int32) (p string) {
		for ; i > 0; i = ways[i].from {
			p = ways[i].by + "; " + p
		}
		return p
	}
	steps := 0
	for i := int32(0); int(i) < len(all); i++ {
		l := *first
		l.world = all[i]
		show := func() (s string) {
			for k, n := range l.gens {
				if n > 1 {
					s += fmt.Sprintf("\n%d: %+v", k+1, l.all[n])
				}
			}
			return fmt.Sprintf("after %s\n%+v%s", path(i), l.world, s)
		}
		if !l.accepts() {
			t.Fatalf("nobody accepts %s", show())
		}
		if l.shared() {
			t.Fatalf("two generations have what one may have %s", show())
		}
		quiet := true
		visit := func(name string, f func(*live)) (changes bool) {
			steps++
			v := l
			f(&v)
			if v.wrong != "" {
				t.Fatalf("%s: %s, %s", name, v.wrong, show())
			}
			if _, ok := seen[v.world]; !ok {
				seen[v.world] = int32(len(all))
				all, ways = append(all, v.world), append(ways, way{i, name})
			}
			return v.world != l.world
		}
		l.moves(slow, func(name string, f func(*live)) { quiet = !visit(name, f) && quiet })
		l.provoked(func(name string, f func(*live)) { visit(name, f) })
		if quiet {
			if wrong := l.ended(); wrong != "" {
				t.Fatalf("%s %s", wrong, show())
			}
		}
	}
	t.Logf("%d states of %d processes, %d steps", len(all), len(first.all), steps)
}
