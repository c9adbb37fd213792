//go:build unix

package drain_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lead leads what the plan says; see run of each for how long it takes to return.
func (g *gen) lead() error {
	var errs []error
	for _, name := range g.Leads {
		errs = append(errs, g.svc.Lead(name, func(ctx context.Context) { g.leads(ctx, name) }))
	}
	return errors.Join(errs...)
}

// leads holds a lock for as long as it runs, and says so if another process holds it.
func (g *gen) leads(ctx context.Context, name string) {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(g.path), "lead-"+strings.ReplaceAll(name, " ", "-")),
		os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		g.note("lead: %v", err)
		return
	}
	defer f.Close()
	g.note("%s begun", name)
	// A process that was killed as it forked leaves a child that has the file for a moment.
	for until := time.Now().Add(5 * time.Millisecond); ; <-time.After(time.Millisecond) {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil || time.Now().After(until) {
			break
		}
	}
	if err != nil {
		g.note("overlap of %s: %v", name, err)
	}
	switch {
	case strings.HasPrefix(name, "short"):
	case strings.HasPrefix(name, "gated") && g.Fault == name:
		<-ctx.Done()
		g.note("%s told", name)
		g.fault(name)
	default:
		<-ctx.Done()
		g.note("%s told", name)
		time.Sleep(g.LeadTail)
	}
	g.note("%s ended", name)
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}

func (s *service) wantNoOverlap() {
	s.Helper()
	for _, r := range s.since(0) {
		if strings.HasPrefix(r.Note, "overlap") {
			s.Error(r)
		}
	}
}

func TestLeadRunsInOneGenerationOverTenSwapsAndAStop(t *testing.T) {
	names := []string{"one", "another", "short"}
	s := start(t, plan{Leads: names, LeadTail: 10 * time.Millisecond})
	l := s.drive(8, 2*time.Millisecond)
	for gen := 1; gen <= 10; gen++ {
		for _, name := range names {
			s.await(0, name, noted(gen, name+" begun"))
		}
		s.swap()
		l.settle()
	}
	l.end()
	for _, name := range names { // a stop begins none
		s.await(0, "the last "+name, noted(11, name+" begun"))
	}
	s.stop()
	s.wantNoOverlap()
	s.wantNothingLost()
	for gen := 1; gen <= 10; gen++ {
		s.wantOrder(noted(gen, "one begun"), told(gen, "replaced"), noted(gen, "one told"), noted(gen, "one ended"),
			noted(gen+1, "one begun"))
	}
	s.wantOrder(told(11, "draining"), noted(11, "one told"), noted(11, "one ended"), told(11, "stopped"))
	for gen := 1; gen <= 11; gen++ {
		n := 0
		for _, r := range s.since(0) {
			if r.Gen == gen && strings.HasSuffix(r.Note, " begun") &&
				(r.Note == "one begun" || r.Note == "another begun" || r.Note == "short begun") {
				n++
			}
		}
		if n != len(names) {
			t.Errorf("generation %d begins %d functions, want each once", gen, n)
		}
	}
}

// Swaps that come faster than the functions return: each waits for the one before, however far that is away.
func TestLeadWaitsForEachGenerationBefore(t *testing.T) {
	s, open := startAt(t, "gated", plan{Leads: []string{"gated", "other"}, MaxGenerations: 8, DrainTimeout: 2 * hung})
	s.await(0, "gated", noted(1, "gated begun"))
	for gen := 2; gen <= 4; gen++ {
		s.swap()
		s.await(0, "the other", noted(gen, "other begun")) // is not held up
	}
	if o := s.awaitAlone(s.pgid); len(o.Leads) != 1 || o.Leads[0] != "gated" {
		t.Errorf("%+v; want generation 1 to lead gated", o)
	}
	open()
	s.await(0, "gated", noted(4, "gated begun"))
	s.wantExit(s.pgid, 0)
	s.stop()
	s.wantNoOverlap()
	s.wantOrder(noted(1, "gated ended"), noted(4, "gated begun"))
	for _, r := range s.since(0) {
		if (r.Gen == 2 || r.Gen == 3) && r.Note == "gated begun" {
			t.Error(r, "while generation 1 led")
		}
	}
}

// A swap that fails, at whatever step, does not touch what runs.
func TestLeadGoesOnWhereASwapFails(t *testing.T) {
	s := start(t, plan{Leads: []string{"one"}})
	s.await(0, "one", noted(1, "one begun"))
	for _, fault := range []string{"crash at start", "ready fails", "check fails", "crash in probation",
		"preflight fails"} {
		s.failSwap(fault)
	}
	for _, r := range s.since(0) {
		if r.Note == "one told" || r.Note == "one begun" && r.PID != s.pgid {
			t.Error(r)
		}
	}
	s.nextHas("")
	s.swap()
	s.await(0, "one", noted(2, "one begun"))
	s.stop()
	s.wantNoOverlap()
}

// A generation that is killed leads no more, but not before it is gone.
func TestLeadBeginsWhenTheOldOneIsKilled(t *testing.T) {
	eachOf(t, func(t *testing.T, when string) {
		s := begin(t, plan{Leads: []string{"gated"}, DrainTimeout: 2 * hung}, atGate("gated"))
		s.event(1, "ready")
		s.await(0, "gated", noted(1, "gated begun"))
		s.nextHas("")
		if when == "while its function ends" {
			s.swap()
			s.noteSince(0, s.pgid, "gated told")
			s.awaitOlder(1)
			s.signal(s.pgid, syscall.SIGSTOP) // says nothing more
			s.signal(s.pgid, syscall.SIGKILL)
		} else {
			open := s.beginSwap("in Ready")
			s.signal(s.pgid, syscall.SIGKILL)
			open()
		}
		s.await(0, "gated", noted(2, "gated begun"))
		s.event(2, "promoted") // or stop would signal the dead one: two files are read by turns
		s.stop()
		s.wantNoOverlap()
	}, "before the swap is over", "while its function ends")
}

// The generation between is killed before it has told the next one all that it knows.
func TestLeadWaitsForOneWhoseSuccessorIsKilled(t *testing.T) {
	s, open := startAt(t, "gated", plan{Leads: []string{"gated", "other"}, DrainTimeout: 2 * hung})
	s.await(0, "gated", noted(1, "gated begun"))
	second := s.swap()
	s.await(0, "other", noted(2, "other begun")) // from here on it knows what generation 1 still leads
	openThird := s.beginSwap("in Ready")
	s.kill(second.PID)
	openThird()
	s.await(0, "other", noted(3, "other begun")) // once nothing holds it up any more: the second generation is gone
	open()
	s.await(0, "gated", noted(3, "gated begun"))
	s.wantNoOverlap()
	s.wantOrder(noted(1, "gated ended"), noted(3, "gated begun"))
	s.stop()
}

// Whenever something is killed, no two lead at once, and one that serves leads soon.
func TestLeadSurvivesRandomKills(t *testing.T) {
	dice := dice(t)
	swaps := 0
	for services := 0; swaps < 20 && services < 40 && !t.Failed(); services++ {
		s := start(t, plan{Leads: []string{"one"}, LeadTail: 100 * time.Millisecond, MaxGenerations: 8})
		for s.swapOrKill(dice.IntN(2) == 0, time.Duration(dice.IntN(80))*time.Millisecond) {
			if swaps++; s.main().Gen > 6 {
				break
			}
		}
		if !isClosed(s.eof) {
			s.await(0, "the last one to lead", noted(s.main().Gen, "one begun"))
			s.stop()
		}
		s.wantNoOverlap()
	}
	t.Logf("%d swaps", swaps)
}

// swapOrKill swaps, and kills the old generation some time after it was asked. It tells whether another one
// has taken over: the next one, or the one before, which has not let go yet.
func (s *service) swapOrKill(kill bool, after time.Duration) bool {
	s.Helper()
	mark, main := s.mark(), s.main()
	s.signal(main.PID, syscall.SIGHUP)
	if kill {
		<-time.After(after) // any moment will do
		_ = syscall.Kill(main.PID, syscall.SIGKILL)
		s.exit(main.PID)
	}
	var over bool
	s.eventually("a generation to take over", func() bool {
		gone := isClosed(s.eof) // killed before it had started the next
		over = slices.ContainsFunc(s.since(mark), func(r record) bool {
			return told(main.Gen+1, "promoted")(r) || told(main.Gen-1, "swap failed")(r)
		})
		return over || gone
	})
	return over
}
