package drain

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
)

// recorded are parts that note which of their verbs are called. Part fails, if there is one of that number: it can't
// prepare, and it releases more than goes along.
type recorded struct {
	parts
	calls []string
}

func record(n, fails int) *recorded {
	rec := &recorded{parts: make(parts, n)}
	for i := range rec.parts {
		note := func(verb string) { rec.calls = append(rec.calls, fmt.Sprint(verb, " ", i)) }
		rec.parts[i] = part{
			prepare: func() error {
				note("prepare")
				if i == fails {
					return errors.New("can't prepare")
				}
				return nil
			},
			inherit: func(m message) { note(fmt.Sprint("inherit ", m.PID, " in")) },
			acquire: func() { note("acquire") },
			release: func(m *message) {
				note("release")
				what := "this"
				if i == fails {
					what = strings.Repeat("x", maxGiven)
				}
				_ = m.give(fmt.Sprint(i), what)
			},
			regain: func() { note("regain") },
			yield:  func() { note("yield") },
			end:    func(how ending) { note(fmt.Sprint("end ", how, " of")) },
		}
	}
	return rec
}

// took returns what was called since.
func (rec *recorded) took() string {
	calls := strings.Join(rec.calls, ", ")
	rec.calls = nil
	return calls
}

// sequence is a verb of parts from to to, in that order.
func sequence(verb string, from, to int) string {
	var calls []string
	for i := from; ; i += max(-1, min(1, to-from)) {
		if calls = append(calls, fmt.Sprint(verb, " ", i)); i == to {
			return strings.Join(calls, ", ")
		}
	}
}

// Parts take their turns in the order of the list, or in reverse. One that has nothing to do, or gives too much, keeps
// no other from its turn.
func TestPartsTakeTheirTurns(t *testing.T) {
	t.Parallel()
	const n = 4
	var m message
	verbs := map[string]func(parts){
		"release": func(ps parts) { m = message{}; ps.release(&m) },
		"regain":  parts.regain,
		"yield":   parts.yield,
		"end":     func(ps parts) { ps.end(last) },
		"prepare": func(ps parts) { _ = ps.prepare() },
		"inherit": func(ps parts) { ps.inherit(message{PID: 7}) },
		"acquire": func(ps parts) { ps.acquire(nil) },
		"word":    func(ps parts) { ps.acquire(&message{PID: 7}) },
	}
	want := map[string]string{
		"release": sequence("release", n-1, 0),
		"regain":  sequence("regain", 0, n-1),
		"yield":   sequence("yield", n-1, 0),
		"end":     sequence("end 2 of", n-1, 0),
		"prepare": sequence("prepare", n-1, 0),
		"inherit": sequence("inherit 7 in", 0, n-1),
		"acquire": sequence("acquire", 0, n-1),
		"word": "inherit 7 in 0, acquire 0, inherit 7 in 1, acquire 1, inherit 7 in 2, acquire 2, " +
			"inherit 7 in 3, acquire 3",
	}
	for verb, call := range verbs {
		rec := record(n, -1)
		call(rec.parts)
		if got := rec.took(); got != want[verb] {
			t.Errorf("%s: %s", verb, got)
		}
		for k := range n {
			rec.parts[k] = part{}
			call(rec.parts)
			rest := slices.DeleteFunc(strings.Split(want[verb], ", "), func(c string) bool {
				return c[len(c)-1]-'0' <= byte(k)
			})
			if got := rec.took(); got != strings.Join(rest, ", ") {
				t.Errorf("%s, where the first %d have nothing to do: %s", verb, k+1, got)
			}
		}
	}
	for k := range n {
		rec := record(n, k)
		verbs["release"](rec.parts)
		if got := rec.took(); got != want["release"] || len(m.Parts) != n-1 || m.Parts[fmt.Sprint(k)] != nil {
			t.Errorf("where part %d gives too much: %s, %d give", k, got, len(m.Parts))
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[part]()) {
		if fails := f.Type.NumOut() > 0; fails != (f.Name == "prepare") {
			t.Errorf("%s can fail: say here what becomes of the parts before", f.Name)
		}
	}
}

// A generation one of whose parts can't be prepared owns nothing: it prepares no other, releases nothing, and ends all
// of them as a guest.
func TestAPartThatCantPrepareEndsAllAsAGuest(t *testing.T) {
	t.Parallel()
	const n = 3
	for k := range n {
		rec := record(n, k)
		s, _ := alone(t, machine.Probation, func(r *runner) {
			r.parts, r.state.Heir, r.state.Successor.Phase = rec.parts, true, lifecycle.Candidate
		})
		s.run.post(machine.ProbationOver{})
		<-s.run.over
		if want := sequence("prepare", n-1, k) + ", " + sequence("end 0 of", n-1, 0); rec.took() != want {
			t.Errorf("part %d: %q", k, rec.calls)
		}
	}
}

// Each moment of a swap calls the verb that ARCHITECTURE.md names for it, and no other.
func TestASwapCallsThePartsInTurn(t *testing.T) {
	t.Parallel()
	const n = 3
	release := sequence("release", n-1, 0)
	child := func(e lifecycle.OldEvent) machine.Child { return machine.Child{Attempt: 1, Event: e} }
	for name, c := range map[string]struct {
		phase  machine.Phase
		events func(*elder, *swap) []any
		calls  string
		end    ending
	}{
		"takes over": {machine.Probation, func(*elder, *swap) []any { return []any{machine.PredecessorGone{}} },
			sequence("acquire", 0, n-1), last},
		"late word": {machine.Ready, func(e *elder, _ *swap) []any {
			return []any{elderSaid{elder: e, message: message{Kind: kindPromoted, PID: 7}}}
		}, sequence("inherit 7 in", 0, n-1), last},
		"child serves": {machine.Swapping, func(_ *elder, sw *swap) []any {
			return []any{child(lifecycle.Announced), childServes{sw: sw}}
		}, release + ", " + sequence("yield", n-1, 0), replaced},
		"child dies": {machine.Swapping, func(*elder, *swap) []any {
			return []any{child(lifecycle.Announced), child(lifecycle.ChildGone)}
		}, release + ", " + sequence("regain", 0, n-1), last},
		"child dies before": {machine.Swapping, func(*elder, *swap) []any {
			return []any{child(lifecycle.ChildGone)}
		}, "", last},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, _ := linkPair(t)
			sw, e, rec := newSwap(3, 1, nil), newElder(near, 1, 1), record(n, -1)
			sw.link, sw.peer, sw.child = near, &spoken, willing{}
			sw.ctx, sw.giveUp = context.WithCancel(t.Context())
			s, _ := alone(t, c.phase, func(r *runner) {
				r.parts, r.swap, r.state.Heir = rec.parts, sw, true
				if c.phase == machine.Swapping {
					r.state.Swap, r.state.Child.Attempt, r.state.Child.Phase = true, 1, lifecycle.Announcing
				} else {
					r.others.starter = e
				}
			})
			for _, what := range c.events(e, sw) {
				s.run.post(what)
			}
			s.run.settle()
			s.endTest()
			<-s.run.over
			want := strings.TrimPrefix(c.calls+", "+sequence(fmt.Sprint("end ", int(c.end), " of"), n-1, 0), ", ")
			if got := rec.took(); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}
