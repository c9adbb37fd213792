//go:build unix

package drain_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
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

func TestGoneComesWhenNothingIsInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	c, open := s.slow("slow")
	s.signal(s.pgid, syscall.SIGTERM)
	s.event(1, "draining")
	s.tell(s.pgid, syscall.SIGHUP)
	s.wantGone(0)
	s.finishSlow(c, open)
	s.wantEnd(0, "")
	s.wantGone(1)
	s.wantOrder(told(1, "draining"), noted(1, "gone"), told(1, "stopped"))
}

func TestGoneIsTheLastGenerationsToSay(t *testing.T) {
	t.Parallel()
	s := start(t, plan{DrainTimeout: 2 * hung})
	c, open := s.slow("slow")
	s.swap()
	r := s.swap()
	s.signal(r.PID, syscall.SIGTERM)
	s.event(3, "waiting for older generations")
	s.tell(r.PID, syscall.SIGHUP)
	s.wantGone(0)
	s.finishSlow(c, open)
	_ = c.Close()
	s.gone()
	s.wantGone(3)
	s.wantOrder(told(1, "stopped"), noted(3, "gone"), told(3, "stopped"))
}

func TestGoneIsNotForWhoNeverWasMain(t *testing.T) {
	t.Parallel()
	t.Run("failed start", func(t *testing.T) {
		t.Parallel()
		s := begin(t, plan{Fault: "ready fails"})
		s.wantEnd(1, "the cache is cold")
		s.wantGone(0)
	})
	t.Run("stop while starting", func(t *testing.T) {
		t.Parallel()
		s, _ := hold(t, "in Ready", plan{})
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(0, "")
		s.wantGone(0)
	})
	t.Run("failed swap", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		s.plan.Fault = "check fails"
		s.replan()
		s.signal(s.pgid, syscall.SIGHUP)
		s.event(1, "swap failed")
		s.wantGone(0)
		s.stop()
		s.wantGone(1)
	})
	t.Run("stop in a swap", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		s.beginSwap("in Ready")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(0, "")
		s.wantGone(1)
	})
}

func TestGoneAfterACutOff(t *testing.T) {
	t.Parallel()
	s := start(t, plan{DrainTimeout: 200 * time.Millisecond})
	s.slow("slow")
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "DrainTimeout (200ms) is over: cut off 1 active connection(s)")
	s.wantGone(1)
}

func TestGoneIsOutpacedByASecondStop(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{})
		s.slow("slow")
		s.signal(s.pgid, syscall.SIGTERM)
		s.event(1, "draining")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(1, "asked twice")
		s.wantGone(0)
	})
	t.Run("in it", func(t *testing.T) {
		t.Parallel()
		s := begin(t, plan{DrainTimeout: 2 * hung}, atGate("slow gone"))
		s.event(1, "ready")
		s.signal(s.pgid, syscall.SIGTERM)
		s.noteSince(0, 0, "at the gate")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(1, "asked twice: cut off Config.Gone")
		s.wantGone(1)
	})
}

func TestGoneIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Fault: "hang in Gone", DrainTimeout: 3 * time.Second})
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(0, "")
	if r := s.event(1, "hook failed"); !strings.Contains(r.Err, "Config.Gone: ") {
		t.Error(r)
	}
}

// A registry ends up with what it hears last.
func TestHooksRunOneAfterAnother(t *testing.T) {
	t.Parallel()
	t.Run("Join is waited for", func(t *testing.T) {
		t.Parallel()
		s := begin(t, plan{PullMax: hung}, atGate("slow join"))
		s.event(1, "ready")
		s.noteSince(0, 0, "at the gate")
		s.signal(s.pgid, syscall.SIGTERM)
		s.event(1, "pull noticed")
		s.tell(s.pgid, syscall.SIGHUP)
		s.wantNone(0, "draining")
		s.opener(s.plan.Gate)()
		s.wantEnd(0, "")
		s.wantOrder(told(1, "stopping"), noted(1, "joined"), noted(1, "leave"), noted(1, "left"), noted(1, "gone"))
	})
	t.Run("Join is told", func(t *testing.T) {
		t.Parallel()
		s := start(t, plan{Fault: "hang in Join", PullMax: hung})
		s.noteSince(0, 0, "join")
		s.signal(s.pgid, syscall.SIGTERM)
		s.wantEnd(0, "")
		s.wantOrder(told(1, "stopping"), noted(1, "leave"), noted(1, "gone"))
		s.wantNone(0, "hook failed")
	})
	t.Run("one that does not return", func(t *testing.T) {
		t.Parallel()
		s := begin(t, plan{PullMax: 200 * time.Millisecond}, atGate("slow join"))
		s.event(1, "ready")
		s.noteSince(0, 0, "at the gate")
		s.signal(s.pgid, syscall.SIGUSR2)
		if r := s.event(1, "hook failed"); !strings.Contains(r.Err, "Config.Leave: not over within 200ms") {
			t.Error(r)
		}
		s.opener(s.plan.Gate)()
		s.noteSince(0, 0, "joined")
		mark := s.mark()
		s.signal(s.pgid, syscall.SIGUSR1)
		s.noteSince(mark, 0, "at the gate")
		s.opener(s.plan.Gate)()
		s.stop()
	})
}

func TestJoinThatFailedIsTheNextGenerationsToDo(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"join fails", "hang in Join"} {
		s := start(t, plan{Fault: fault, PullMax: hung})
		s.noteSince(0, s.pgid, "join")
		s.plan.Fault = ""
		s.replan()
		s.noteSince(0, s.swap().PID, "joined")
		mark := s.mark()
		s.swap()
		s.stop()
		for _, r := range s.since(mark) {
			if r.Note == "join" {
				t.Errorf("%s: %v; want no more calls of Join", fault, r)
			}
		}
	}
}

// An older generation that ends late does not end Gone.
func TestGoneIsFinished(t *testing.T) {
	t.Parallel()
	s := start(t, plan{DrainTimeout: 2 * hung})
	c, open := s.slow("one")
	s.plan.DrainTimeout, s.plan.Fault = 200*time.Millisecond, "slow gone"
	s.plan.Gate, _ = s.gate("gone")
	s.replan()
	r := s.swap()
	s.signal(r.PID, syscall.SIGTERM)
	s.noteSince(0, r.PID, "at the gate")
	s.event(1, "told to leave within")
	s.finishSlow(c, open)
	_ = c.Close()
	s.event(2, "older generation is gone")
	s.tell(r.PID, syscall.SIGHUP)
	s.opener(s.plan.Gate)()
	s.gone()
	s.wantGone(2)
	if r := s.event(2, "cut off"); !strings.Contains(r.Err, "DrainTimeout (200ms) is over") {
		t.Error(r)
	}
}
