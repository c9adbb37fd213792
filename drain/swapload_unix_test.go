//go:build unix

package drain_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// wantNothingLost wants an empty loss ledger in every generation.
func (s *service) wantNothingLost() {
	s.Helper()
	for _, r := range s.since(0) {
		if r.Open.Lost > 0 {
			s.Errorf("the loss ledger has entries: %v", r)
		}
	}
}

// wantLostByCutOff wants nothing in the loss ledger but what a generation has cut off, and said so.
func (s *service) wantLostByCutOff() {
	s.Helper()
	for _, r := range s.since(0) {
		if r.Open.Lost > r.Open.CutOff {
			s.Errorf("the loss ledger has entries besides what was cut off: %v", r)
		}
	}
}

// wantMoved wants the same connection to lead to another generation, once it has been at rest.
func (s *service) wantMoved(c *client, to record) {
	s.Helper()
	for timeout := time.After(hung); ; {
		a, err := c.ask("POST", "/echo", "again")
		switch {
		case err != nil || a.body != "again" || a.close:
			s.Errorf("the next request on the connection: %+v, %v", a, err)
			return
		case a.gen == to.Gen && a.pid == to.PID:
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			s.Fatalf("the connection stays with generation %d; want %d", a.gen, to.Gen)
		}
	}
}

// awaitOlder waits until the newest generation knows of n older ones, which their links tell it soon after
// its promotion.
func (s *service) awaitOlder(n int) {
	s.Helper()
	for timeout := time.After(hung); len(s.status().Older) != n; {
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			s.Fatalf("older generations: %+v; want %d", s.status().Older, n)
		}
	}
}

// awaitAlone waits until that process is the only older generation: the one before the newest may be known, and gone,
// before it has handed the link of that one on.
func (s *service) awaitAlone(pid int) drain.Peer {
	s.Helper()
	for timeout := time.After(hung); ; {
		older := s.status().Older
		if len(older) == 1 && older[0].PID == pid {
			return older[0]
		}
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			s.Fatalf("older generations: %+v; want process %d alone", older, pid)
		}
	}
}

func TestTenSwapsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	l := s.drive(16, 4*time.Millisecond)
	for range 10 {
		s.swap()
		l.settle()
	}
	l.end()
	s.stop()
	s.wantNothingLost()
}

func TestTenSwapsAsFastAsPossibleLoseNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	l := s.drive(16, 0)
	for range 10 {
		s.swap()
	}
	l.end()
	s.stop()
	s.wantNothingLost()
	s.wantNone(0, "swap failed")
}

// A connection on which a request hangs is with an old generation. When it is answered, the connection goes straight to
// the newest one.
func TestSlowRequestsAcrossSwapsGoToTheNewest(t *testing.T) {
	t.Parallel()
	s := start(t, plan{MaxGenerations: 8, DrainTimeout: 2 * hung})
	type hanging struct {
		*client
		open func()
	}
	var slow []hanging
	for gen := 1; gen <= 4; gen++ {
		for _, name := range []string{"first", "second"} {
			c, open := s.slow(name + string(rune('0'+gen)))
			slow = append(slow, hanging{c, open})
		}
		s.swap()
	}
	newest := s.main()
	s.awaitOlder(4)
	for i, o := range s.status().Older {
		if o.Generation != i+1 {
			t.Errorf("older generations: %+v; want the oldest first", s.status().Older)
		}
	}
	slices.Reverse(slow)
	for _, h := range slow {
		if a := s.finishSlow(h.client, h.open); a.gen == newest.Gen || a.close {
			t.Errorf("the slow request: %+v", a)
		}
		s.wantMoved(h.client, newest)
	}
	s.wantAlone(newest.PID)
	s.wantExit(s.pgid, 0)
	s.stop()
	s.wantNothingLost()
}

// The same, when the swaps come faster than the links are handed on.
func TestSlowRequestAcrossHastySwapsKeepsItsConnection(t *testing.T) {
	t.Parallel()
	s := start(t, plan{MaxGenerations: 32, DrainTimeout: 2 * hung})
	c, open := s.slow("one")
	for range 6 {
		s.swap()
	}
	d, openToo := s.slow("two")
	for range 6 {
		s.swap()
	}
	for _, finish := range []func() answer{
		func() answer { return s.finishSlow(c, open) },
		func() answer { return s.finishSlow(d, openToo) },
	} {
		if a := finish(); a.close {
			t.Errorf("%+v; want the connection to be kept", a)
		}
	}
	newest := s.main()
	for _, c := range []*client{c, d} {
		s.wantMoved(c, newest)
	}
	s.stop()
	s.wantNothingLost()
}

func TestTooManyGenerationsHurryTheOldest(t *testing.T) {
	t.Parallel()
	s := start(t, plan{MaxGenerations: 3, DrainTimeout: 2 * hung})
	oldest, _ := s.slow("one")
	s.swap()
	second, open := s.slow("two")
	s.swap()
	s.awaitOlder(2)
	s.swap() // there would be four
	r := s.event(3, "too many generations")
	s.event(1, "told to leave")
	s.wantExit(s.pgid, 1)
	if r := s.event(1, "cut off"); !strings.Contains(r.Err,
		"a newer generation asked to leave: cut off 1 active connection(s)") {
		t.Error(r)
	}
	if a, err := oldest.receive(); err == nil {
		t.Errorf("the request that was cut off has an answer: %+v", a)
	}
	if r.Phase != "swapping" {
		t.Error(r)
	}
	s.finishSlow(second, open)
	s.wantMoved(second, s.main())
	s.stop()
	s.wantLostByCutOff()
}

// A generation that has little time left is not given more by being hurried.
func TestHurryDoesNotProlong(t *testing.T) {
	t.Parallel()
	s := start(t, plan{MaxGenerations: 2, DrainTimeout: 4 * time.Second})
	s.slow("one")
	s.swap()
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGHUP)
	s.eventSince(mark, 2, "too many generations")
	s.wantExit(s.pgid, 1)
	if r := s.event(1, "cut off"); !strings.Contains(r.Err, "DrainTimeout (4s) is over") {
		t.Error(r)
	}
	s.eventSince(mark, 3, "promoted")
	s.stop()
}
