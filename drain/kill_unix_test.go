//go:build unix

package drain_test

import (
	"fmt"
	"io"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Whenever the old generation is killed in a swap, the new one takes over, with the control socket and who waits in the
// kernel's queue.
func TestOldKilledInASwap(t *testing.T) {
	at := func(step string) func(*service) func() {
		return func(s *service) func() { return s.beginSwap(step) }
	}
	each(t, map[string]func(*service) (open func()){
		"before New": at("before New"), "before Run": at("before Run"), "in Ready": at("in Ready"),
		"in probation": func(s *service) func() {
			s.plan.Probation, s.plan.SwapTimeout = time.Hour, 2*time.Hour // is cut short
			s.replan()
			s.signal(s.pgid, hup)
			s.event(2, "probation")
			s.plan.Probation = time.Nanosecond
			s.replan()
			return func() {}
		},
		"between the new one's word that it is ready and the old one's that it lets go": func(s *service) func() {
			s.haltAtReady()
			return func() {}
		},
	}, func(t *testing.T, swap func(*service) func()) {
		s := start(t, plan{}, withControl)
		open := swap(s)
		s.kill(s.pgid)
		waiting := s.wait()
		open()
		child := s.event(2, "promoted").PID
		s.wantReceived(waiting, child)
		if st := s.mustControl("status"); st.PID != child {
			t.Errorf("%+v; want pid %d", st, child)
		}
		s.wantServed(child)
		s.wantNoControl()
	})
}

func TestOldKilledWhileHandingOver(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung})
	s.slow("one") // or it might be gone already
	l := s.drive(8, time.Millisecond)
	r := s.swap()
	s.kill(s.pgid)
	s.event(2, "older generation is gone")
	for range 4 { // what was handed over lives; the rest died with its process
		c := s.connect()
		if a, err := c.ask("POST", "/echo", "new"); err != nil || a.pid != r.PID {
			t.Errorf("%+v, %v", a, err)
		}
	}
	l.Stop()
	s.wantServed(r.PID)
}

// Then nobody listens. What the old generations have they finish, and serve connections that nobody takes.
func TestNewKilledRightAfterPromotion(t *testing.T) {
	s := start(t, plan{IdleGrace: hung})
	first, openFirst := s.slow("one")
	second := s.swap()
	c, open := s.slow("two")
	child := s.swap()
	s.event(2, "replaced") // or it takes everything back, see TestNewKilledBeforeTheOldHearsThatItServes
	s.awaitOlder(2)
	s.kill(child.PID)
	s.finishSlow(first, openFirst)
	lastOfFirst := s.wantAnswerOn(first, s.pgid)
	s.finishSlow(c, open)
	if lastOfSecond := s.wantAnswerOn(c, second.PID); !lastOfFirst || !lastOfSecond {
		t.Error("an answer does not say that it is the last")
	}
	s.wantEnd(0, "")
	s.noteSince(0, second.PID, "exit 0")
}

// A new generation that is halted holds up whom it is to serve, and loses nobody.
func TestNewHaltedRightAfterPromotion(t *testing.T) {
	s := start(t, plan{})
	l := s.drive(8, time.Millisecond)
	slow, open := s.slow("one")
	child := s.swap()
	s.event(1, "replaced") // or it takes everything back, see TestNewHaltedBeforeItServes
	s.halt(child.PID)
	waiting := s.wait()
	s.finishSlow(slow, open)
	s.signal(child.PID, syscall.SIGCONT)
	s.wantReceived(waiting, child.PID)
	s.wantMoved(slow, child)
	l.end()
	s.stop()
	s.wantNothingLost()
}

// A new generation that is halted for longer than the old one lives: what the old one holds it serves to the
// end, and its clients hear of that.
func TestNewHaltedForLongerThanTheOldDrains(t *testing.T) {
	s := start(t, plan{DrainTimeout: 8 * time.Second})
	const n = 16
	path, open := s.gate("all")
	clients := make([]*client, n)
	for i := range clients {
		mark := s.mark()
		clients[i] = s.connect()
		must(t, clients[i].send("GET", "/slow?gate="+url.QueryEscape(path), ""))
		s.noteSince(mark, s.pgid, "slow begun")
	}
	child := s.swap()
	s.event(1, "replaced")
	s.halt(child.PID)
	open()
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			if a, err := c.receive(); err != nil || a.body != "slow but done" {
				t.Errorf("client %d: %+v, %v", i, a, err)
			}
			for round := 0; ; round++ {
				a, err := c.ask("POST", "/echo", fmt.Sprint(i, round))
				if err != nil || a.body != fmt.Sprint(i, round) || a.pid != s.pgid {
					t.Errorf("client %d, round %d: %+v, %v", i, round, a, err)
					return
				}
				if a.close {
					break
				}
			}
			if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
				t.Errorf("client %d then has %q, %v", i, rest, err)
			}
		})
	}
	all.Wait()
	s.wantExit(s.pgid, 0)
	s.signal(child.PID, syscall.SIGCONT)
	s.wantServed(child.PID)
	s.wantNothingLost()
}
