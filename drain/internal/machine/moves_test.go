package machine

import (
	"fmt"
	"strings"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// moves are all that can happen next. Slow: also what happens where something takes long, or fails.
func (l *live) moves(slow bool, try func(name string, f func(*live))) {
	for i := range l.gens {
		if l.lives(i) {
			l.own(i, slow, func(name string, f func(*live)) { try(fmt.Sprintf("%d %s", i+1, name), f) })
			l.hears(i, slow, func(name string, f func(*live)) { try(fmt.Sprintf("%d %s", i+1, name), f) })
		}
	}
}

// after makes a move of a change and an event.
func (l *live) after(i int, try func(string, func(*live))) func(name string, e Event, before func(*process)) {
	return func(name string, e Event, before func(*process)) {
		try(name, func(v *live) {
			v.change(i, name, before)
			if e != nil {
				v.heed(i, e)
			}
		})
	}
}

// own is what a generation has begun.
func (l *live) own(i int, slow bool, try func(string, func(*live))) {
	p, o := l.at(i), l.at(i).owed
	after := l.after(i, try)
	if o.probation {
		proven := func(q *process) { q.owed.probation = false }
		after("is proven", ProbationOver{}, proven)
		if slow {
			try("fails", func(v *live) { v.lost[i] = true; v.heed(i, ProbationOver{errSome}) })
		}
	}
	if o.acquire {
		acquired := func(q *process) { q.owed.acquire = false }
		after("has acquired", Acquired{}, acquired)
		if slow {
			try("can't acquire", func(v *live) {
				v.lost[i] = true
				v.change(i, "has acquired", acquired)
				if v.heed(i, Acquired{errSome}); v.serves(i) {
					v.wrong = "it serves without what its owners have"
				}
			})
		}
	}
	waited := func(q *process) { q.Successor.Ticks = lifecycle.PromoteTicks }
	if long := *p; o.ticks && p.Trusts && slow {
		waited(&long)
		if to, _ := long.Successor.Step(lifecycle.NewTick); to.Phase != p.Successor.Phase {
			after("has waited long", Tick{}, waited)
		}
	}
	if o.launch && !l.undecided(i) {
		try("starts the next", func(v *live) { v.launch(i) })
	}
	if o.timeout && slow {
		after("gives up", SwapTimedOut{1, "why"}, func(*process) {})
	}
	speaks := p.Child.Phase < lifecycle.Announcing || p.Child.Phase == lifecycle.Announcing && o.announce
	if slow && o.child.lives && speaks && p.Child.Aborted == "" {
		after("finds that the next does not fit", ChildSpeaks{1, true, errSome, 0}, func(*process) {})
	}
	if o.announce {
		after("has announced", Child{Attempt: 1, Event: lifecycle.Announced, Mute: l.mute},
			func(q *process) { q.owed.announce = false })
		if p.Owns && slow {
			after("can't release", NotReleased{1, "why"}, func(q *process) { q.owed.announce = false })
		}
	}
	if o.promote {
		after("has promoted", childHas(lifecycle.Promoted), func(q *process) { q.owed.promote = false })
	}
	if o.takeBack {
		after("has taken back", TakenBack{1, errSome, nil}, func(q *process) { q.owed.takeBack = false })
	}
	if o.traffic {
		after("is left alone", TrafficOver{}, func(q *process) { q.owed.traffic = false })
	}
	if handsOn := i == 1 && p.done.letGo && l.links[0].reader == 1; handsOn && l.lives(2) {
		try("hands the first on", func(v *live) {
			v.links[0].reader = 2
			if !v.links[0].bereft {
				v.heed(2, Older{v.at(2).Older + 1})
			}
		})
	} else if o.emptied {
		after("has emptied", Emptied{}, func(q *process) { q.owed.emptied = false })
	} else if o.drained && p.done.starved {
		after("has drained", Drained{}, func(q *process) { q.owed.drained = false })
	}
	if o.linger {
		after("has lingered", LingerOver{}, func(q *process) { q.owed.linger, q.Since = false, longAgo })
	}
	fresh := func(i int) bool { return l.lives(i) && l.at(i).Phase == Draining && !l.at(i).Since.Before(t0) }
	if fresh(i) && !fresh(i-1) && !fresh(i-2) && !l.talking() { // what is said is heard sooner
		after("has drained for long", nil, func(q *process) { q.Since, q.Deadline = longAgo, longAgo })
	}
}

// hears is what a generation hears.
func (l *live) hears(i int, slow bool, try func(string, func(*live))) {
	p := l.at(i)
	for k := range l.links {
		w := l.links[k]
		if int(w.reader) != i || l.gens[k] == 0 {
			continue
		}
		if w.down != "" {
			try("hears", func(v *live) { v.hear(i, take(&v.links[k].down)) })
		} else if (w.cut || !l.lives(k)) && !w.bereft {
			try("sees the end of the link", func(v *live) {
				v.links[k].bereft = true
				if p.done.took {
					v.heed(i, Older{max(0, p.Older-1)})
				} else {
					v.heed(i, PredecessorGone{})
				}
			})
		}
	}
	after := l.after(i, try)
	if i == len(l.links) || !p.done.swap || p.done.letGo || p.done.tookBack {
		return
	}
	w := l.links[i]
	if w.ready {
		try("hears that the next is ready", func(v *live) {
			v.links[i].ready = false
			v.heed(i, childHas(lifecycle.ChildReady))
		})
	}
	switch {
	case w.up != "":
		try("hears the next", func(v *live) {
			take(&v.links[i].up)
			switch {
			case p.Child.Phase == lifecycle.Dying:
			case v.held(i):
				v.heed(i, childHas(lifecycle.ChildServes))
			default: // a process that is dead by then serves nobody
				v.lost[i+1] = true
			}
		})
	case p.owed.child.lives && !l.held(i):
		after("sees the end of the next", childHas(lifecycle.ChildGone), func(q *process) {
			q.owed.child.lives = false
		})
	case p.owed.child.lives && w.cut && !w.deaf:
		try("sees that the link is cut", func(v *live) {
			v.links[i].deaf = true
			v.heed(i, childHas(lifecycle.ChildDeaf))
		})
	}
	ticks := p.Child.Phase == lifecycle.Waiting || p.Child.Phase == lifecycle.Leaving
	if slow && (w.up == "" || !l.wish.early) && p.owed.child.lives && ticks {
		after("has waited long for the next", childHas(lifecycle.OldTick), func(q *process) {
			q.Child.Ticks = lifecycle.ServeTicks
		})
	}
}

// unheard is how many messages of a generation are on their way, at most, on one link.
func (l *live) unheard(i int) (n int) {
	if i > 0 {
		n = strings.Count(l.links[i-1].up, "|")
	}
	if i < len(l.links) {
		n = max(n, strings.Count(l.links[i].down, "|"))
	}
	return n
}

// provoked is what somebody does: send signals, kill, cut links.
func (l *live) provoked(try func(string, func(*live))) {
	for i := range l.gens {
		if !l.lives(i) {
			continue
		}
		if l.left[0] > 0 {
			for _, v := range []Verb{Swap, Pull, Stop, Restore} {
				if v == Restore && !l.wish.pulled && l.left[0] == 1 || v == Swap && l.once {
					continue
				}
				try(fmt.Sprintf("%s to %d", v, i+1), func(w *live) { w.left[0]--; w.command(i, v) })
			}
		}
		if l.left[1] == 0 {
			continue
		}
		for lost := range l.unheard(i) + 1 {
			try(fmt.Sprintf("%d is killed", i+1), func(v *live) {
				v.left[1]--
				v.freak[i], v.killed = true, true
				if v.serves(i) && !v.serves(i-1) && !v.serves(i+1) {
					v.dark = int8(i + 1)
				}
				v.kill(i, lost)
			})
		}
		if i < len(l.links) && l.lives(i+1) && !l.links[i].cut {
			for lost := range max(strings.Count(l.links[i].up, "|"), strings.Count(l.links[i].down, "|")) + 1 {
				try(fmt.Sprintf("the link of %d is cut", i+1), func(v *live) {
					v.left[1]--
					w := &v.links[i]
					w.cut, v.cut = true, true
					w.up, w.down = head(w.up, lost), head(w.down, lost)
				})
			}
		}
		if l.at(i).owed.promote && i < len(l.links) && strings.Contains(l.links[i].down, "promoted") {
			try(fmt.Sprintf("%d can't promote", i+1), func(v *live) {
				v.left[1]--
				v.change(i, "can't promote", func(q *process) { q.owed.promote, q.done.refused = false, true })
				w := &v.links[i]
				from := strings.Index(w.down, "promoted")
				w.down = w.down[:from] + w.down[from+strings.Index(w.down[from:], "|")+1:]
				v.heed(i, Child{Attempt: 1, Event: lifecycle.NotPromoted, Why: "why"})
			})
		}
	}
}
