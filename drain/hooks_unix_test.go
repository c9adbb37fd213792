//go:build unix

package drain_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

func (g *gen) join(ctx context.Context) error {
	g.note("join")
	g.fail("Join")
	if g.fault("join fails") {
		return errors.New("no registry")
	}
	if g.fault("hang in Join") {
		<-ctx.Done()
		return ctx.Err()
	}
	g.fault("slow join")
	g.note("joined")
	return nil
}

func (g *gen) gone(ctx context.Context) error {
	g.note("gone")
	g.fail("Gone")
	if g.fault("hang in Gone") {
		<-ctx.Done()
		return ctx.Err()
	}
	g.fault("slow gone")
	return nil
}

// wantGone wants Config.Gone to have been called once, by that generation; 0 is by none.
func (s *service) wantGone(gen int) {
	s.Helper()
	var by []int
	for _, r := range s.since(0) {
		if r.Note == "gone" {
			by = append(by, r.Gen)
		}
	}
	if gen == 0 && len(by) > 0 || gen > 0 && (len(by) != 1 || by[0] != gen) {
		s.Errorf("Gone was called by the generations %v; want once, by %d", by, gen)
	}
}

func TestGoneIsOutpacedByASecondStop(t *testing.T) {
	s, _ := startAt(t, "slow gone", plan{DrainTimeout: 2 * hung})
	s.signal(s.pgid, term)
	s.noteSince(0, 0, "at the gate")
	s.signal(s.pgid, term)
	s.wantEnd(1, "asked twice: cut off Config.Gone")
	s.wantGone(1)
}

func TestGoneIsBounded(t *testing.T) {
	s := start(t, plan{Fault: "hang in Gone", DrainTimeout: 3 * time.Second})
	s.signal(s.pgid, term)
	s.wantEnd(0, "")
	s.wantIn(s.event(1, "hook failed").Err, "Config.Gone: ")
}

// An older generation that ends late does not end Gone.
func TestGoneIsFinished(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung})
	c, open := s.slow("one")
	s.plan.DrainTimeout = 200 * time.Millisecond
	openGone := s.nextAt("slow gone")
	r := s.swap()
	s.signal(r.PID, term)
	s.noteSince(0, r.PID, "at the gate")
	s.event(1, "told to leave within")
	s.finishSlow(c, open)
	_ = c.Close()
	s.event(2, "older generation is gone")
	s.tell(r.PID, hup)
	openGone()
	s.gone()
	s.wantGone(2)
	s.wantIn(s.event(2, "cut off").Err, "DrainTimeout (200ms) is over")
}

func TestJoinAndLeaveInOrder(t *testing.T) {
	s := start(t, plan{})
	s.noteSince(0, 0, "join")
	s.swap()
	s.swap()
	s.stop()
	s.wantOrder(told(1, "ready"), noted(1, "join"), told(3, "promoted"), told(3, "stopping"), noted(3, "leave"),
		told(3, "draining"), told(3, "stopped"))
	s.wantNotes(1, 0, "join")
	s.wantNotes(1, 0, "leave")
}

// A registry ends up with what it hears last.
func TestHooksRunOneAfterAnother(t *testing.T) {
	parallel(t)
	t.Run("Join is waited for", func(t *testing.T) {
		s, open := startAt(t, "slow join", plan{PullMax: hung})
		s.noteSince(0, 0, "at the gate")
		s.signal(s.pgid, term)
		s.pullOver(0, 1)
		s.tell(s.pgid, hup)
		s.wantNone(0, "draining")
		open()
		s.wantEnd(0, "")
		s.wantOrder(told(1, "stopping"), noted(1, "joined"), noted(1, "leave"), noted(1, "left"), noted(1, "gone"))
	})
	t.Run("Join is told", func(t *testing.T) {
		s := start(t, plan{Fault: "hang in Join", PullMax: hung})
		s.noteSince(0, 0, "join")
		s.signal(s.pgid, term)
		s.wantEnd(0, "")
		s.wantOrder(told(1, "stopping"), noted(1, "leave"), noted(1, "gone"))
		s.wantNone(0, "hook failed")
	})
	t.Run("one that does not return", func(t *testing.T) {
		s, open := startAt(t, "slow join", plan{PullMax: 200 * time.Millisecond})
		s.noteSince(0, 0, "at the gate")
		s.signal(s.pgid, pull)
		s.awaitLine("hook failed", "Config.Leave: not over within 200ms") // Join may exceed it, too
		open()
		s.noteSince(0, 0, "joined")
		mark := s.mark()
		s.signal(s.pgid, restore)
		s.noteSince(mark, 0, "at the gate")
		open()
		s.stop()
	})
}

func TestJoinThatFailedIsTheNextGenerationsToDo(t *testing.T) {
	eachOf(t, func(t *testing.T, fault string) {
		s := start(t, plan{Fault: fault, PullMax: hung})
		s.noteSince(0, s.pgid, "join")
		s.nextHas("")
		s.noteSince(0, s.swap().PID, "joined")
		s.swap()
		s.stop()
		s.wantNotes(2, 0, "join")
	}, "join fails", "hang in Join")
}

// fail ends the function of that name otherwise than by returning.
func (g *gen) fail(name string) {
	if g.fault("Goexit in " + name) {
		runtime.Goexit()
	}
	if g.fault("panic in " + name) {
		panic("a bug in the hook")
	}
}

// A hook that ends its goroutine is a hook that fails: nothing waits for it. See TestSwapToABadVersionFails for swaps.
func TestGoexitBeforeReadyIsAnError(t *testing.T) {
	each(t, map[string]string{
		"Goexit in Ready": "Config.Ready: it did not return", "ready fails": "the cache is cold",
	}, func(t *testing.T, reason string) {
		_, fault, _ := strings.Cut(strings.ReplaceAll(t.Name(), "_", " "), "/")
		s := begin(t, plan{Fault: fault})
		s.wantEnd(1, reason)
		s.wantGone(0)
	})
}

// A hook of the main generation that panics is told of, and the service serves on, swaps, and stops.
func TestAHookThatDoesNotReturnEndsNothing(t *testing.T) {
	type row struct {
		how, hook string
		by        int // generation; a later Join may be over before it begins, when a pull comes
	}
	eachOf(t, func(t *testing.T, c row) {
		s := start(t, plan{Fault: c.how + " in " + c.hook})
		l := s.drive(2, time.Millisecond)
		if c.by == 1 {
			s.event(1, "hook failed")
		}
		s.swap()
		s.pull()
		l.end()
		s.signal(s.main().PID, term)
		s.wantIn(s.event(c.by, "hook failed").Err, "Config."+c.hook+": ")
		s.gone()
		s.wantExit(s.pgid, 0)
		if r := s.event(2, "stopped"); r.Err != "" {
			t.Error(r)
		}
	}, row{"panic", "Join", 1}, row{"panic", "Leave", 2}, row{"panic", "Gone", 2},
		row{"Goexit", "Join", 1}, row{"Goexit", "Leave", 2}, row{"Goexit", "Gone", 2})
}

// A function of Go that ends its goroutine has ended.
func TestGoexitInBackgroundWork(t *testing.T) {
	s := start(t, plan{Worker: true, Fault: "Goexit in Go"})
	s.noteSince(0, 0, "work begun")
	s.swap()
	s.event(1, "stopped")
	s.stop()
}
