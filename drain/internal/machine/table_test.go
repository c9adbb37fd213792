package machine

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// named is something that can happen, in the states in which it can; nil: in all.
type named struct {
	name   string
	when   func(State) bool
	events []Event
}

func signal(v Verb) Event { return Signaled{Verb: v, Signal: hangup{}, At: t0} }

func childHas(e lifecycle.OldEvent) Event { return Child{Attempt: 1, Event: e} }

// situations are the named states, of an heir whose old generation is of this version. Owns: it has owners.
func situations(owns bool) (names []string, all map[string]State) {
	heir := Setting{Generation: 2, Heir: true, Linked: true, Trusts: true, CallsGone: true}
	all = map[string]State{}
	add := func(name, from string, events ...Event) {
		s, ok := all[from]
		if !ok {
			s = New(heir, t0)
			s.DrainTimeout = 60e9
		}
		for _, e := range events {
			s, _ = inTime(s, e)
		}
		names, all[name] = append(names, name), s
	}
	add("new", "")
	add("starting", "new", RunCalled{owns})
	add("probation", "starting", ReadyReturned{})
	add("awaiting", "probation", ProbationOver{}, Prepared{})
	add("acquiring", "awaiting", Promoted{})
	add("ready", "acquiring", Acquired{}, Older{})
	add("pulled", "ready", Asked{Pull})
	add("lame duck", "ready", Asked{Stop})
	add("swapping", "ready", Asked{Swap}, ChildSpeaks{1, true, nil, 0})
	add("aborting", "swapping", SwapTimedOut{1, "why"})
	add("announcing", "swapping", childHas(lifecycle.ChildReady))
	add("promoting", "announcing", childHas(lifecycle.Announced))
	add("waiting", "promoting", childHas(lifecycle.Promoted))
	add("killing", "waiting", childHas(lifecycle.OldTick))
	add("taking back", "killing", childHas(lifecycle.ChildGone))
	add("stopped while killing", "killing", signal(Stop))
	add("replaced", "waiting", childHas(lifecycle.ChildServes))
	add("replaced and empty", "replaced", Emptied{})
	add("drained", "replaced and empty", Drained{})
	if owns {
		add("saving", "drained", LingerOver{})
	}
	add("draining", "lame duck", TrafficOver{})
	add("cutting off", "draining", DeadlineOver{})
	add("empty", "draining", Emptied{})
	await := []Event{Older{1}, Emptied{}, Drained{}}
	if owns { // which pass work on
		await = await[:2]
	}
	add("awaiting older ones", "draining", await...)
	add("Gone called", "empty", Drained{})
	return names, all
}

func happenings() []named {
	comesUp := func(s State) bool {
		return s.Running && (s.Phase == Starting || s.Phase == Probation) && s.Successor.Phase == lifecycle.Candidate
	}
	started := func(s State) bool { return s.Running && s.Phase == Starting }
	proving := func(s State) bool { return comesUp(s) && !started(s) }
	swaps := func(s State) bool { return s.Phase == Swapping && s.Child.Phase != lifecycle.Back }
	launches := func(s State) bool {
		return s.Phase == Swapping && (s.Child.Phase == lifecycle.Starting || s.Child.Phase == lifecycle.Leaving)
	}
	announced := func(s State) bool {
		return s.Phase == Swapping && (s.Child.Phase == lifecycle.Announcing || s.Child.Phase == lifecycle.Back)
	}
	open := func(s State) bool { return s.Phase == Draining && !s.Emptied && !s.Cutting }
	works := func(s State) bool { return s.Starved && !s.Drained && !s.Cutting }
	a := func(name string, when func(State) bool, events ...Event) named { return named{name, when, events} }
	return []named{
		a("Run is called", nil, RunCalled{}),
		a("Config.Ready returns", started, ReadyReturned{}),
		a("probation is over", proving, ProbationOver{}),
		a("all is prepared", proving, Prepared{}),
		a("any of this fails", comesUp, ReadyReturned{errSome}, ProbationOver{errSome}, Prepared{errSome}),
		a("the old one promotes it", nil, Promoted{}),
		a("the 15th tick", nil, Tick{}),
		a("the old one is gone", nil, PredecessorGone{}),
		a("the owners have acquired", nil, Acquired{}),
		a("they can't acquire", nil, Acquired{errSome}),
		a("the old one tells it to leave", nil, ToldToLeave{}),
		a("a signal to swap", nil, signal(Swap)),
		a("a swap is asked for", nil, Asked{Swap}),
		a("pull", nil, signal(Pull)),
		a("restore", nil, signal(Restore)),
		a("a signal to stop", nil, signal(Stop)),
		a("a stop is asked for", nil, Asked{Stop}),
		a("another generation forwards a stop", nil, Forwarded{Stop, 1}),
		a("a server fails", nil, ServerFailed{errSome}),
		a("the keeper is gone", nil, KeeperGone{}),
		a("the child does not start", launches, NotStarted{1, errSome}),
		a("SwapTimeout is over", nil, SwapTimedOut{1, "why"}),
		a("the child does not fit", nil, ChildSpeaks{1, true, errSome, 0}),
		a("the child is ready", nil, childHas(lifecycle.ChildReady)),
		a("that is announced", announced, childHas(lifecycle.Announced)),
		a("the owners can't release", nil, NotReleased{1, "why"}),
		a("the child is told", nil, childHas(lifecycle.Promoted)),
		a("the child can't be told", nil, childHas(lifecycle.NotPromoted)),
		a("the child serves", nil, childHas(lifecycle.ChildServes)),
		a("the child waits too long", swaps, childHas(lifecycle.OldTick)),
		a("the child is gone", nil, childHas(lifecycle.ChildGone)),
		a("all is taken back", func(s State) bool { return !swaps(s) }, TakenBack{1, errSome, nil}),
		a("the balancers have noticed", func(s State) bool { return !s.Swap }, TrafficOver{}),
		a("no connection is left here", open, Emptied{}),
		a("no work is left here", works, Drained{}),
		a("the older ones are gone", nil, Older{}),
		a("it has lingered", func(s State) bool { return s.Drained && s.Replaced() }, LingerOver{}),
		a("DrainTimeout is over", func(s State) bool { return s.Phase == Draining }, DeadlineOver{}),
		a("a newer one is in a hurry", State.Replaced, Hurried{}),
		a("what is left is cut off", nil, CutOffDone{errSome}),
		a("CallGone is over", func(s State) bool { return s.Gone }, GoneReturned{}),
	}
}

// phaseTable writes what Step does, a row for each outcome. What depends on owners says so.
func phaseTable() string {
	_, plain := situations(false)
	names, owning := situations(true)
	type row struct{ in, happens, outcome string }
	var rows []row
	for _, h := range happenings() {
		var outcomes []row
		in := map[row][]string{}
		add := func(name, happens, outcome string) {
			r := row{happens: happens, outcome: outcome}
			if outcome == "" {
				return
			}
			if in[r] == nil {
				outcomes = append(outcomes, r)
			}
			if !slices.Contains(in[r], name) {
				in[r] = append(in[r], name)
			}
		}
		for _, name := range names {
			for _, e := range h.events {
				without, with := says(name, h, e, names, plain), says(name, h, e, names, owning)
				if _, both := plain[name]; without == with || !both {
					add(name, h.name, with)
					continue
				}
				add(name, h.name+", without owners", without)
				add(name, h.name+", with owners", with)
			}
		}
		for _, o := range outcomes {
			rows = append(rows, row{strings.Join(in[o], ", "), o.happens, o.outcome})
		}
	}
	var b strings.Builder
	b.WriteString("| in | happens | becomes | does |\n| --- | --- | --- | --- |\n")
	for i, r := range rows {
		same := func(o row) bool { return o.in == r.in && o.outcome == r.outcome }
		if slices.ContainsFunc(rows[:i], same) {
			continue
		}
		for _, o := range rows[i+1:] {
			if same(o) {
				r.happens += "; " + o.happens
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s\n", r.in, r.happens, r.outcome)
	}
	return b.String()
}

// inTime is Step where an event comes that says that a time is over.
func inTime(s State, e Event) (State, []Effect) {
	switch e {
	case Tick{}, childHas(lifecycle.OldTick):
		s.Successor.Ticks, s.Child.Ticks = lifecycle.PromoteTicks-1, lifecycle.ServeTicks-1
	case LingerOver{}:
		s.Since = longAgo
	}
	return s.Step(e, t0)
}

// says tells what an event makes of the named state, and what it does; "" if nothing, or where it can't happen.
func says(name string, h named, e Event, names []string, all map[string]State) string {
	from, ok := all[name]
	if !ok || h.when != nil && !h.when(from) {
		return ""
	}
	to, effects := inTime(from, e)
	text := fmt.Sprintf("%s | %s |", becomes(name, from, to, names, all), does(effects))
	if text == "– | – |" {
		return ""
	}
	return text
}

// becomes names what to is, and what it keeps for later; "–" where that is what it was.
func becomes(name string, from, to State, names []string, all map[string]State) string {
	is, of := "", State{Pulled: to.Pulled, Stopping: to.Stopping}
	for _, other := range append([]string{name}, names...) {
		s := all[other]
		if !alike(to, s) {
			continue
		}
		exact := s.Pulled == to.Pulled && s.Stopping == to.Stopping &&
			s.Cutting == to.Cutting && s.Starved == to.Starved && s.Drained == to.Drained
		if is == "" || exact {
			is, of = other, s
		}
		if exact {
			break
		}
	}
	is = cmp.Or(is, string(to.Phase))
	parts := []string{is}
	if is == name {
		parts = nil
	}
	for _, flag := range []struct {
		was, is, will bool
		name          string
	}{
		{from.Stopping, of.Stopping, to.Stopping, "stopping"}, {from.Pulled, of.Pulled, to.Pulled, "pulled"},
		{from.Cutting, of.Cutting, to.Cutting, "cutting off"},
		{from.Drained, of.Drained, to.Drained, "drained"},
		{from.Child.Failure != nil, false, to.Swap && to.Child.Failure != nil, "keeps the error"},
		{from.LeaveNow, to.Stopping, to.LeaveNow, "the next signal to stop cuts off"},
		{from.Child.Hasty, false, to.Child.Hasty, "cuts off when all is taken back"},
	} {
		if flag.will && !flag.was && !flag.is {
			parts = append(parts, flag.name)
		}
	}
	for _, p := range [][2]Pending{{from.Later, to.Later}, {from.Child.Next, to.Child.Next}} {
		for _, v := range p[1].Verbs() {
			if !slices.Contains(p[0].Verbs(), v) {
				parts = append(parts, "keeps "+string(v))
			}
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "–")
}

// alike tells whether a and b have one name, but for what goes with each phase.
func alike(a, b State) bool {
	side := func(s State) lifecycle.OldPhase {
		if !s.Swap {
			return lifecycle.Starting
		}
		return s.Child.Phase
	}
	return a.Phase == b.Phase && a.Running == b.Running && a.Successor.Phase == b.Successor.Phase && a.Swap == b.Swap &&
		side(a) == side(b) && a.Gone == b.Gone
}

// does names effects, without what is only said.
func does(effects []Effect) string {
	var names []string
	for _, e := range effects {
		name := reflect.TypeOf(e).Name()
		switch e := e.(type) {
		case Tell, Log, Heard:
			continue
		case Finish:
			for _, how := range []struct {
				is   bool
				name string
			}{{e.Guest, "Guest"}, {e.Replaced, "Replaced"}, {e.Kill, "Kill"}} {
				if how.is {
					name += "{" + how.name + "}"
				}
			}
		case Drain:
			if e.Replaced {
				name += "{Replaced}"
			}
		}
		names = append(names, name)
	}
	return cmp.Or(strings.Join(names, ", "), "–")
}

// The table in ARCHITECTURE.md is what Step does.
func TestTableInArchitecture(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := phaseTable(); !strings.Contains(string(page), table+"\n") { // the page has no more rows, either
		t.Errorf("ARCHITECTURE.md lacks this table:\n%s", table)
	}
}
