package machine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// happening is something that can happen to a process.
type happening struct {
	event  Event // nil: time passes
	soon   bool  // it happens by itself, or is a stop
	before func(*process)
}

// can calls f with all that can happen to p next.
func (p *process) can(f func(happening)) {
	yes := func(e Event) { f(happening{event: e}) }
	soon := func(e Event, before func(*process)) { f(happening{e, true, before}) }
	o := &p.owed
	switch { // what the runner takes next
	case o.acquire && !p.Owns: // at once
		soon(Acquired{}, func(q *process) { q.owed.acquire = false })
		return
	case o.cutNow:
		soon(CutOffDone{errSome}, func(q *process) { q.owed.cut, q.owed.cutNow = false, false })
		return
	}
	yes(RunCalled{p.Generation == 3 || p.Generation == 1 && !p.CallsGone})
	for _, v := range []Verb{Swap, Pull, Restore, Stop} {
		f(happening{event: Signaled{Verb: v, Signal: hangup{}, At: t0}, soon: v == Stop})
		yes(Asked{v})
	}
	if p.Linked {
		yes(Forwarded{Stop, p.Generation - 1})
	}
	if p.Running {
		yes(ContextOver{})
	}
	yes(KeeperGone{})
	yes(ServerFailed{errSome})
	p.comesUp(f, yes, soon)
	if p.done.swap && !p.done.tookBack {
		p.swaps(yes, soon)
	}
	if o.takeBack {
		soon(TakenBack{1, errSome, nil}, func(q *process) { q.owed.takeBack = false })
	}
	p.leaves(yes, soon)
}

type some func(Event)
type byTime func(Event, func(*process))

func (p *process) comesUp(f func(happening), yes some, soon byTime) {
	o := &p.owed
	if o.ready {
		settled := func(q *process) { q.owed.ready = false }
		soon(ReadyReturned{}, settled)
		soon(ReadyReturned{errSome}, settled)
	}
	if o.prepare {
		settled := func(q *process) { q.owed.prepare = false }
		soon(Prepared{}, settled)
		soon(Prepared{errSome}, settled)
	}
	if o.acquire {
		settled := func(q *process) { q.owed.acquire = false }
		soon(Acquired{}, settled)
		soon(Acquired{errSome}, settled)
	}
	if o.probation {
		settled := func(q *process) { q.owed.probation = false }
		soon(ProbationOver{}, settled)
		soon(ProbationOver{errSome}, settled)
	}
	if o.ticks && p.Trusts {
		soon(Tick{}, func(q *process) { q.Successor.Ticks = lifecycle.PromoteTicks })
	}
	if o.parent {
		if !p.Successor.Told {
			for _, asked := range []Pending{{}, {Pull: true}, {Swap: true}, {Pull: true, Swap: true},
				{Pull: true, Swap: true, PullLast: true}} {
				yes(Promoted{asked, 0, asked.Pull})
			}
		}
		yes(ToldToLeave{"why"})
		f(happening{PredecessorGone{}, !p.Trusts || p.Owns, func(q *process) { q.owed.parent = false }})
	}
	if p.done.took && p.Linked {
		for n := range 2 {
			if n != p.Older {
				soon(Older{n}, nil)
			}
		}
	}
}

func (p *process) swaps(yes some, soon byTime) {
	o, c := &p.owed, p.owed.child
	if o.launch {
		settled := func(q *process) { q.owed.launch = false }
		soon(NotStarted{1, errSome}, settled)
		soon(nil, func(q *process) { q.owed.launch, q.owed.child.lives = false, true })
	}
	if o.timeout {
		soon(SwapTimedOut{1, "why"}, nil)
	}
	happens := func(e lifecycle.OldEvent, before func(*process)) { soon(Child{Attempt: 1, Event: e}, before) }
	if o.announce {
		settled := func(q *process) { q.owed.announce = false }
		for _, mute := range []bool{false, true} {
			soon(Child{Attempt: 1, Event: lifecycle.Announced, Mute: mute}, settled)
		}
		if p.Owns {
			soon(NotReleased{1, "why"}, settled)
		}
	}
	if o.promote {
		settled := func(q *process) { q.owed.promote = false }
		happens(lifecycle.Promoted, settled)
		soon(Child{Attempt: 1, Event: lifecycle.NotPromoted, Why: "why"}, func(q *process) {
			q.owed.promote, q.done.refused = false, true
		})
	}
	if !c.lives {
		return
	}
	happens(lifecycle.ChildGone, func(q *process) { q.owed.child.lives = false })
	if p.done.letGo {
		return
	}
	happens(lifecycle.OldTick, func(q *process) { q.Child.Ticks = lifecycle.ServeTicks })
	happens(lifecycle.ChildDeaf, nil)
	yes(Child{Attempt: 1, Event: lifecycle.ChildServes})
	if !c.ready {
		yes(Child{Attempt: 1, Event: lifecycle.ChildReady})
	}
	if !c.spoken && !p.done.promoted { // which the runner puts off
		for _, speaks := range []ChildSpeaks{{1, true, nil, 0}, {1, false, nil, 0}, {1, true, errSome, 0}} {
			f := func(q *process) { q.owed.child.spoken = true }
			soon(speaks, f)
		}
	}
	yes(ChildExplains{1, "why"})
}

func (p *process) leaves(yes some, soon byTime) {
	o := &p.owed
	if p.done.pulling {
		yes(PullNoticed{})
	}
	if o.traffic {
		soon(TrafficOver{}, func(q *process) { q.owed.traffic = false })
	}
	if o.emptied {
		soon(Emptied{}, func(q *process) { q.owed.emptied = false })
	}
	if o.drained && p.done.starved {
		soon(Drained{}, func(q *process) { q.owed.drained = false })
	}
	if o.deadline {
		soon(DeadlineOver{}, func(q *process) { q.owed.deadline, q.Since, q.Deadline = false, longAgo, longAgo })
	}
	if o.hurry {
		soon(HurryOver{}, func(q *process) { q.owed.hurry, q.Since, q.Deadline = false, longAgo, longAgo })
	}
	if p.done.letGo {
		yes(Hurried{})
	}
	if o.linger {
		soon(LingerOver{}, func(q *process) { q.owed.linger, q.Since = false, longAgo })
	}
	if o.cut {
		soon(CutOffDone{errSome}, func(q *process) { q.owed.cut = false })
	}
	if o.gone {
		soon(GoneReturned{}, func(q *process) { q.owed.gone = false })
	}
	if p.Phase == Draining && !p.Since.Before(t0) {
		soon(nil, func(q *process) { q.Since, q.Deadline = longAgo, longAgo })
	}
}

// latecomer is what late depends on.
type latecomer struct {
	phase Phase
	child lifecycle.OldPhase
	swap  bool
}

// late tells what is wrong with how p takes events that come late, from an attempt before the present one.
func (p *process) late() string {
	paused := p.done.swap && p.Child.Phase != lifecycle.Starting && !p.done.tookBack
	late := []Event{
		NotStarted{0, errSome}, SwapTimedOut{0, "why"}, ChildSpeaks{0, true, errSome, 0}, ChildExplains{0, "why"},
		TakenBack{0, errSome, nil},
	}
	for e := lifecycle.ChildReady; e <= lifecycle.OldTick; e++ {
		late = append(late, Child{Event: e})
	}
	for _, e := range late {
		q, effects := p.Step(e, t0)
		resumes := len(effects) == 1 && effects[0] == ResumeReads{}
		if q != p.State || len(effects) > 0 && !resumes ||
			resumes != (e == Child{Event: lifecycle.Announced} && !paused) {
			return fmt.Sprintf("late %T%+v does %v", e, e, effects)
		}
	}
	return ""
}

// raced says that the race detector looks on, which takes ten times as long.
var raced bool

// Every state that a generation can come to, and all that can happen then: what effects must not be is in
// process.do, what a state must not be in process.wrong. From each of them time and stops lead to an end.
func TestWhateverHappensAGenerationIsSound(t *testing.T) {
	t.Parallel()
	for _, set := range []Setting{
		{Generation: 1, CallsGone: true},
		{Generation: 1},
		{Generation: 2, Heir: true},
		{Generation: 2, Heir: true, Linked: true, CallsGone: true},
		{Generation: 2, Heir: true, Linked: true, Trusts: true, CallsGone: true},
		{Generation: 3, Heir: true, Linked: true, Trusts: true, CallsGone: true},
	} {
		if raced && set.Generation == 1 {
			continue // the longest walks, in a function without goroutines; make test has them
		}
		name := fmt.Sprintf("generation %d, heir %v, linked %v, trusts %v, can swap %v",
			set.Generation, set.Heir, set.Linked, set.Trusts, set.NoSwap == "")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t, set)
		})
	}
}

// over tells whether p has ended, or is where the first generation comes to as well: in a swap.
func (p *process) over() bool { return p.Phase == Stopped || p.Heir && p.done.swap }

func walk(t *testing.T, set Setting) {
	all := []process{newProcess(set)}
	number := map[process]int32{all[0]: 0}
	type way struct {
		from int32
		by   Event
	}
	ways := []way{{}}
	path := func(i int32) (p string) {
		for i > 0 {
			p = fmt.Sprintf("%T%+v; ", ways[i].by, ways[i].by) + p
			i = ways[i].from
		}
		return p
	}
	into := [][]int32{nil} // for each state, those that come to it soon
	steps, lates := 0, map[latecomer]bool{}
	for i := int32(0); int(i) < len(all); i++ {
		from := all[i]
		if from.over() {
			continue
		}
		if l := (latecomer{from.Phase, from.Child.Phase, from.Swap}); !lates[l] {
			lates[l] = true
			if wrong := from.late(); wrong != "" {
				t.Fatalf("%s, after %s:\n%+v", wrong, path(i), from)
			}
		}
		from.can(func(h happening) {
			steps++
			p := from
			if h.before != nil {
				h.before(&p)
			}
			wrong := ""
			if h.event != nil {
				_, wrong = p.heed(h.event)
			}
			if wrong != "" {
				t.Fatalf("%s, after %s and then %T%+v:\n%+v", wrong, path(i), h.event, h.event, p)
			}
			p.blur()
			p.PullBy = 0 // between generations: see TestWhateverHappensToASwapSomebodyServes
			n, seen := number[p]
			if !seen {
				n = int32(len(all))
				number[p] = n
				all, ways, into = append(all, p), append(ways, way{i, h.event}), append(into, nil)
			}
			if h.soon && n != i {
				into[n] = append(into[n], i)
			}
		})
	}
	t.Logf("%d states, %d steps", len(all), steps)

	ends := make([]bool, len(all))
	var queue []int32
	for i, p := range all {
		if p.over() {
			ends[i] = true
			queue = append(queue, int32(i))
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, from := range into[queue[0]] {
			if !ends[from] {
				ends[from] = true
				queue = append(queue, from)
			}
		}
	}
	if i := slices.Index(ends, false); i >= 0 {
		t.Errorf("no stop ends %+v\nafter %s", all[i], path(int32(i)))
	}
}
