package machine

import (
	"fmt"
	"strings"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A world is a service in swaps: up to three generations, all that is on its way between them, and what
// the commands that came are to lead to. It can be a key: generations are numbers of processes in a census.
type world struct {
	gens        [3]int32 // 0: there is none
	links       [2]wire  // of each generation to the next
	wish        wish     // what is to be in the end
	left        [2]int8  // commands and faults that may still come
	freak       [3]bool  // was killed from outside
	lost        [3]bool  // ends, or is to, before it has served: its old generation says so, or an error
	killed, cut bool     // somebody, a link
	dark        int8     // the number of a generation that was killed when no other served
}

// wire is a link, and tableflip's pipe.
type wire struct {
	down, up     string // what is on its way, each message with a | behind it
	ready        bool   // is in the pipe
	cut          bool
	deaf, bereft bool // the older end, the newer end has seen the end of the link
	reader       int8 // the generation that has the newer end
}

// wish is what is to be in the end. Unsure is what depends on things that are not looked at.
type wish struct {
	pulled, unpulled bool
	pullTo           int8 // generation to which the last pull came
	endTo            int8 // to which the last came that ends one
	stop, mayStop    bool
	swap             bool    // another one is to begin
	to               [3]bool // generations to which commands came
	early            bool    // a swap was begun while an older generation served
}

// census numbers the processes that there can be, and keeps what becomes of them.
type census struct {
	all     []process
	numbers map[process]int32
	changed map[change]int32
	heeded  map[heeding]outcome
}

type change struct {
	who int32
	how string
}

type heeding struct {
	who   int32
	event Event
}

type outcome struct {
	is      int32
	effects []Effect
	wrong   string
}

func (c *census) number(p process) int32 {
	n, ok := c.numbers[p]
	if !ok {
		n = int32(len(c.all))
		c.all, c.numbers[p] = append(c.all, p), n
	}
	return n
}

// live is a world under way.
type live struct {
	world
	*census
	mute  bool    // the new generations are of a version that doesn't say when it serves, nor forwards
	once  bool    // no signal asks for another swap
	owns  [3]bool // generations that have owners
	wrong string
}

func (l *live) at(i int) *process { return &l.all[l.gens[i]] }
func (l *live) lives(i int) bool {
	return i >= 0 && i < len(l.gens) && l.gens[i] > 1 && l.at(i).Phase != Stopped
}

// serves tells whether a generation's doors are open.
func (l *live) serves(i int) bool { return l.lives(i) && l.at(i).done.took && !l.at(i).done.drain }

func (l *live) down(i int, m string) {
	if w := &l.links[i]; !w.cut && l.lives(int(w.reader)) {
		w.down += m + "|"
	}
}

func (l *live) up(i int, m string) {
	if i >= 0 && !l.links[i].cut && l.lives(i) {
		l.links[i].up += m + "|"
	}
}

func take(wire *string) string {
	m, rest, _ := strings.Cut(*wire, "|")
	*wire = rest
	return m
}

// kill ends a process. A link is a stream: what a process has not got out when it is killed is a tail of what it has
// said, so the other end reads the rest in its order, and then the end. Lost is how many messages of each link are.
func (l *live) kill(i int, lost int) {
	l.gens[i] = 1
	if i > 0 {
		l.links[i-1].up = head(l.links[i-1].up, lost)
	}
	if i < len(l.links) {
		l.links[i].down = head(l.links[i].down, lost)
	}
	l.end(i)
}

// head is what is on its way, without the last messages.
func head(wire string, without int) string {
	all := strings.SplitAfter(wire, "|") // with "" at the end
	return strings.Join(all[:max(0, len(all)-1-without)], "")
}

// end is what the death of a process means for its links.
func (l *live) end(i int) {
	for k := range l.links {
		if w := &l.links[k]; int(w.reader) == i {
			w.down = ""
		}
	}
	if i < len(l.links) {
		l.links[i].up = ""
	}
}

// heed lets an event happen to a generation, as the runner does.
func (l *live) heed(i int, e Event) {
	key := heeding{l.gens[i], e}
	o, ok := l.heeded[key]
	if !ok {
		p := *l.at(i)
		o.effects, o.wrong = p.heed(e)
		o.is = l.number(p)
		l.heeded[key] = o
	}
	l.gens[i], l.wrong = o.is, o.wrong
	if d := l.at(i).done; i < len(l.links) && (d.letGo || d.tookBack) {
		l.links[i].ready, l.links[i].deaf = false, false // nobody looks any more
	}
	for _, effect := range o.effects {
		switch f := effect.(type) {
		case Prepare:
			l.change(i, "is prepared", func(p *process) { p.owed.prepare = false })
			l.heed(i, Prepared{})
		case SayReady:
			if l.lives(i - 1) {
				l.links[i-1].ready = true
			} else {
				l.heed(i, PredecessorGone{})
			}
		case Acquire:
			if l.at(i).Owns {
				break // takes its time
			}
			l.change(i, "has acquired", func(p *process) { p.owed.acquire = false })
			l.heed(i, Acquired{})
		case TakeOver:
			if l.at(i).Trusts {
				l.up(i-1, "serving")
			}
		case BeginSwap:
			l.wish.swap, l.wish.early = false, l.wish.early || l.serves(i-1) && !l.owns[i]
			if i < len(l.links) {
				l.links[i] = wire{reader: int8(i + 1)}
			}
		case Promote:
			l.down(i, word(f))
		case PassOn:
			for _, v := range f.Pending.Verbs() {
				if !l.mute {
					l.down(i, fmt.Sprintf("%s %d", v, i+1))
				} else if v == Stop {
					l.down(i, "leave")
				}
			}
		case Forward:
			l.down(i, fmt.Sprintf("%s %d", f.Verb, f.By))
		case AskToLeave:
			if l.lives(i + 1) {
				l.lost[i+1] = true
				l.down(i, "leave")
			}
		case Kill:
			l.lost[i+1] = true
			l.kill(i+1, 0)
		case CallGone:
			l.change(i, "has saved", func(p *process) { p.owed.gone = false })
			l.heed(i, GoneReturned{})
		case CutOff, CutOffNow:
			l.change(i, "has cut off", func(p *process) { p.owed.cut, p.owed.cutNow = false, false })
			l.heed(i, CutOffDone{errSome})
		case Finish:
			if f.Kill && l.lives(i+1) {
				l.lost[i+1] = true
				l.kill(i+1, 0)
			}
			l.end(i)
		}
	}
}

// change is what the world does to a generation.
func (l *live) change(i int, how string, f func(*process)) {
	key := change{l.gens[i], how}
	n, ok := l.changed[key]
	if !ok {
		p := *l.at(i)
		f(&p)
		n = l.number(p)
		l.changed[key] = n
	}
	l.gens[i] = n
}

func word(p Promote) string {
	w := "promoted"
	if p.Next.Swap {
		w += " swap"
	}
	if p.Next.PullLast {
		w += " last"
	}
	if p.Next.Pull {
		w += fmt.Sprintf(" pull %d", p.PullBy)
	}
	return w
}

// hear is what a generation does with a message from an older one.
func (l *live) hear(i int, m string) {
	switch kind, rest, _ := strings.Cut(m, " "); kind {
	case "promoted":
		has := func(what string) bool { return strings.Contains(rest, what) }
		e := Promoted{Pending: Pending{Pull: has("pull"), Swap: has("swap"), PullLast: has("last")}}
		if e.Pending.Pull {
			e.PullBy = int(rest[len(rest)-1] - '0')
		}
		l.heed(i, e)
	case "leave":
		l.heed(i, ToldToLeave{"why"})
	default:
		l.heed(i, Forwarded{Verb(kind), int(rest[0] - '0')})
	}
}

// command sends a signal, and takes note of what it is to lead to.
func (l *live) command(i int, v Verb) {
	p, w := l.at(i), &l.wish
	stale := p.done.letGo && p.Since.Before(t0) // it leaves, and that is all
	candidate := !p.done.took
	committed := i == 0 || !l.lives(i-1) || l.at(i-1).done.announced || l.at(i-1).done.letGo
	if !stale {
		w.to[i] = true
		later := w.pullTo > int8(i) && w.pulled // the pull that came to a newer generation holds
		switch v {
		case Stop:
			switch {
			case candidate && p.Successor.Phase == lifecycle.Candidate:
				l.lost[i] = true
			case p.Successor.Phase == lifecycle.Acquiring && !p.Successor.hasMore(): // it was to be the service
				l.lost[i], w.stop = true, true
			case candidate && !committed:
				w.mayStop = true
			default:
				w.stop = true
			}
		case Pull: // unless a newer generation was told the contrary, which counts as later
			w.pulled, w.unpulled, w.pullTo = w.endTo <= int8(i), false, int8(i)
		case Restore:
			if crossing := w.pulled && w.pullTo < int8(i) && (l.lives(int(w.pullTo)) || l.talking()); !later {
				w.pulled, w.unpulled, w.endTo = false, !crossing, int8(i)
			}
		case Swap:
			w.swap = true
			if !later {
				w.pulled, w.endTo = false, int8(i) // unless the swap fails
			}
		}
	}
	if l.left[0] == 0 {
		w.pullTo, w.endTo = 0, 0 // no other comes
	}
	l.heed(i, signal(v))
}

// talking tells whether something is on its way.
func (l *live) talking() bool {
	return l.links[0].down+l.links[1].down+l.links[0].up+l.links[1].up != ""
}

// held tells whether the next generation lives, or one that has its end of the link from it.
func (l *live) held(i int) bool { return l.lives(i+1) || l.lives(int(l.links[i].reader)) }

// undecided tells whether a generation must not start another one: the old generation may take back still. See
// runner.undecided; the word that ends it is on its way for no time here.
func (l *live) undecided(i int) bool {
	return l.owns[i] && l.lives(i-1) && !l.at(i-1).done.letGo && !l.links[i-1].bereft
}

// holds tells whether the owners of a generation have what only one may have, or may have it.
func (l *live) holds(i int) bool {
	if !l.lives(i) || !l.owns[i] {
		return false
	}
	p := l.at(i)
	released := p.Swap && p.Child.Paused && !p.owed.announce && !p.done.tookBack
	return (p.owed.acquire || p.done.took) && !released
}

// begin is a service whose first generation has begun a swap.
func begin(c *census, left [2]int8, owns [3]bool) *live {
	l := &live{census: c, owns: owns}
	l.left, l.wish.unpulled = left, true
	l.links[0].reader, l.links[1].reader = 1, 2
	p := newProcess(Setting{Generation: 1})
	for _, e := range []Event{RunCalled{owns[0]}, ReadyReturned{}, Prepared{}, Acquired{}, Asked{Swap}} {
		p.heed(e)
	}
	p.owed.ready, p.owed.prepare, p.owed.acquire = false, false, false
	l.gens[0] = l.number(p)
	return l
}

// launch starts the next generation. It has come as far as probation at once.
func (l *live) launch(i int) {
	if i+1 == len(l.gens) || l.at(i).Child.Aborted != "" {
		l.change(i, "has not started it", func(p *process) { p.owed.launch = false })
		l.heed(i, NotStarted{1, errSome})
		return
	}
	l.change(i, "has started it", func(p *process) {
		p.owed.launch, p.owed.child = false, childState{lives: true, spoken: true}
	})
	l.heed(i, ChildSpeaks{1, !l.mute, nil, 0})
	l.lost[i+1], l.freak[i+1] = false, false
	l.wish.early = l.wish.early || l.serves(i-1) // with owners: over a broken link to it
	q := newProcess(Setting{Generation: i + 2, Heir: true, Linked: true, Trusts: !l.mute})
	for _, e := range []Event{RunCalled{l.owns[i+1]}, ReadyReturned{}} {
		q.heed(e)
	}
	q.owed.ready = false
	l.gens[i+1] = l.number(q)
}
