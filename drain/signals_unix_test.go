//go:build unix

package drain_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

const (
	hup     = syscall.SIGHUP
	pull    = syscall.SIGUSR2
	restore = syscall.SIGUSR1
	term    = syscall.SIGTERM
)

// The tests here and in stopping_unix_test.go are the table of what a signal does in which phase, cell by cell.

// heeds wants the service to come to consist of that generation, which is in that phase, after as many swaps as that
// takes. Then it stops the service.
func (s *service) heeds(gen int, phase drain.Phase) {
	s.Helper()
	s.await(0, fmt.Sprint("generation ", gen), func(r record) bool {
		return r.Gen == gen && (r.Msg == "promoted" || r.Msg == "ready")
	})
	s.settled(phase)
	if got := s.main().Gen; got != gen {
		s.Errorf("generation %d; want %d", got, gen)
	}
	s.wantPing(map[drain.Phase]int{drain.Ready: 200, drain.Pulled: 501}[phase])
	s.stop()
}

// wish is what signals come to.
type wish struct {
	signals []syscall.Signal
	gen     int
	phase   drain.Phase
}

func (w wish) tell(s *service, pid int) {
	s.Helper()
	for _, sig := range w.signals {
		s.tell(pid, sig)
		notAtOnce()
	}
}

// What comes while a generation starts waits until it is ready, in its order.
func TestStartingRemembersSignals(t *testing.T) {
	for _, at := range []string{"before Run", "in Ready"} {
		eachOf(t, func(t *testing.T, w wish) {
			s, open := hold(t, at, plan{})
			w.tell(s, s.pgid)
			open()
			s.heeds(w.gen, w.phase)
			s.wantNone(0, "swap failed")
			if w.phase == drain.Pulled {
				s.wantNotes(0, w.gen, "join")
			}
		}, wish{[]syscall.Signal{hup, hup}, 2, drain.Ready}, wish{[]syscall.Signal{pull}, 1, drain.Pulled},
			wish{[]syscall.Signal{restore}, 1, drain.Ready}, wish{[]syscall.Signal{hup, pull}, 2, drain.Pulled})
	}
}

// The order of what comes in a swap is kept, through as many swaps as it takes. Nobody loses anything meanwhile.
func TestTheLastSignalWins(t *testing.T) {
	eachOf(t, func(t *testing.T, w wish) {
		s := start(t, plan{})
		l := s.drive(2, 4*time.Millisecond)
		open := s.beginSwap("in Ready")
		w.tell(s, s.pgid)
		open()
		s.event(w.gen, "promoted")
		l.end()
		s.heeds(w.gen, w.phase)
	}, wish{[]syscall.Signal{hup, hup, hup}, 3, drain.Ready},
		wish{[]syscall.Signal{pull}, 2, drain.Pulled},
		wish{[]syscall.Signal{hup, pull}, 3, drain.Pulled},
		wish{[]syscall.Signal{pull, hup}, 3, drain.Ready},
		wish{[]syscall.Signal{hup, pull, hup}, 3, drain.Ready},
		wish{[]syscall.Signal{pull, hup, pull}, 3, drain.Pulled},
		wish{[]syscall.Signal{hup, pull, restore}, 3, drain.Ready},
		wish{[]syscall.Signal{hup, restore, pull}, 3, drain.Pulled},
		wish{[]syscall.Signal{pull, restore}, 2, drain.Ready})
}

// Where the swap fails, the old generation does itself what the new one was to do.
func TestSignalsHoldWhereASwapFails(t *testing.T) {
	eachOf(t, func(t *testing.T, w wish) {
		s := start(t, plan{})
		l := s.drive(2, 4*time.Millisecond)
		s.beginSwap("in Ready")
		w.tell(s, s.pgid)
		s.kill(s.event(2, "starting").PID)
		s.event(1, "swap failed")
		l.settle()
		l.end()
		s.heeds(w.gen, w.phase)
	}, wish{[]syscall.Signal{hup}, 2, drain.Ready}, wish{[]syscall.Signal{pull}, 1, drain.Pulled})
}

func TestSwappingIsPulledAndRestored(t *testing.T) {
	s := start(t, plan{})
	open := s.beginSwap("in Ready")
	s.tell(s.pgid, restore)
	s.wantNone(0, "restored while swapping")
	s.pull()
	s.wantPing(501)
	s.signal(s.pgid, restore)
	if r := s.event(1, "restored"); r.Phase != drain.Swapping {
		t.Error(r)
	}
	s.wantPing(200)
	open()
	s.heeds(2, drain.Ready)
	s.wantNone(0, "pulled")
}

func TestReadyIsPulledAndRestoredBySignals(t *testing.T) {
	s := start(t, plan{})
	mark := s.mark()
	s.tell(s.pgid, restore)
	s.wantNone(mark, "restored")
	s.wantPing(200)
	for range 2 {
		mark = s.mark()
		s.signal(s.pgid, pull)
		s.pullOver(mark, 1)
		s.noteSince(mark, 0, "leave")
		s.wantPing(501)
		again := s.mark()
		s.tell(s.pgid, pull)
		s.wantPing(501)
		s.wantNone(again, "pulled")
		s.signal(s.pgid, restore)
		if r := s.eventSince(mark, 1, "restored"); r.Phase != drain.Ready {
			t.Error(r)
		}
		s.noteSince(mark, 0, "join")
		s.wantPing(200)
	}
	s.stop()
}

func TestPulledEndsWithAnUpgrade(t *testing.T) {
	eachOf(t, func(t *testing.T, keep bool) {
		s := start(t, plan{KeepPull: keep})
		s.pull()
		notAtOnce()
		mark := s.mark()
		s.wantAlone(s.swap().PID) // or the old one might answer still
		if keep {
			s.heeds(2, drain.Pulled)
			return
		}
		s.noteSince(mark, s.main().PID, "join") // Leave has been called, and nobody else will undo it
		s.wantNone(mark, "pulled")
		s.heeds(2, drain.Ready)
	}, true, false)
}

// An operator's signals may come to a new generation between its saying that it is ready and the old one's letting go.
func TestSignalsBetweenReadyAndPromotion(t *testing.T) {
	eachOf(t, func(t *testing.T, w wish) {
		s, child := stoppedAtReady(t, plan{})
		w.tell(s, child)
		s.signal(s.pgid, syscall.SIGCONT)
		if w.gen > 0 {
			s.heeds(w.gen, w.phase)
			return
		}
		s.event(2, "promoted")
		s.event(2, "draining")
		s.wantEnd(0, "")
	}, wish{[]syscall.Signal{pull}, 2, drain.Pulled},
		wish{[]syscall.Signal{hup}, 3, drain.Ready},
		wish{signals: []syscall.Signal{term}})
}

// A generation that was replaced forwards what comes to it, and may be late. A pull that has come to a newer generation
// holds: its sender has read the PID file later.
func TestForwardedLate(t *testing.T) {
	type late struct {
		wish                // to generation 1; generation 0 is a stop
		now  func(*service) // what comes to newer ones before
	}
	pulls := (*service).pull
	each(t, map[string]late{
		"a swap":            {wish{[]syscall.Signal{hup}, 3, drain.Pulled}, pulls},
		"a restore":         {wish{[]syscall.Signal{restore}, 2, drain.Pulled}, pulls},
		"restore and swap":  {wish{[]syscall.Signal{restore, hup}, 3, drain.Pulled}, pulls},
		"swap and pull":     {wish{[]syscall.Signal{hup, pull}, 3, drain.Pulled}, func(*service) {}},
		"pull, then a swap": {wish{[]syscall.Signal{pull, hup}, 3, drain.Ready}, func(*service) {}},
		"a swap, with a generation between": {wish{[]syscall.Signal{hup}, 4, drain.Pulled},
			func(s *service) { s.swap(); s.pull() }},
		"a swap, to one that starts pulled": {wish{[]syscall.Signal{hup}, 4, drain.Pulled}, func(s *service) {
			open := s.beginSwap("in Ready")
			s.signal(s.main().PID, pull)
			s.event(2, "pulled while swapping; the next generation starts pulled")
			open()
			s.event(3, "promoted")
		}},
		"a swap, when a later one has ended the pull": {wish{[]syscall.Signal{hup}, 4, drain.Ready},
			func(s *service) { s.pull(); notAtOnce(); s.swap() }},
		"a swap, when a later restore has ended the pull": {wish{[]syscall.Signal{hup}, 3, drain.Ready},
			func(s *service) { s.pull(); s.restore() }},
		"a stop": {wish{signals: []syscall.Signal{term}}, pulls},
	}, func(t *testing.T, c late) {
		for !tryLate(t, c.wish, c.now) {
		}
	})
}

// tryLate reports whether the signals came in time to be forwarded.
func tryLate(t *testing.T, w wish, now func(*service)) bool {
	s := start(t, plan{DrainTimeout: 2 * hung})
	slow, open := s.slow("slow")
	swapped := time.Now()
	s.swap()
	s.event(1, "replaced")
	now(s)
	mark := s.mark()
	w.tell(s, s.pgid)
	switch {
	case time.Since(swapped) > 2*time.Second: // this machine is too busy
		s.finishSlow(slow, open)
		s.stop()
		return false
	case w.gen == 0:
		s.eventSince(mark, 2, "waiting for older generations")
		s.finishSlow(slow, open)
		s.wantEnd(0, "")
		return true
	case w.gen > s.main().Gen:
		s.eventSince(mark, w.gen, "promoted")
	}
	s.finishSlow(slow, open)
	s.heeds(w.gen, w.phase)
	return true
}

// A generation that has to make room stays as long, too: what is sent to its number in the PID file is heard.
func TestGenerationThatMakesRoomForwardsSignals(t *testing.T) {
	for {
		s := start(t, plan{MaxGenerations: 2})
		open := s.beginSwap("in Ready")
		s.tell(s.pgid, hup)
		open()
		s.event(1, "told to leave within 5s")
		_ = syscall.Kill(s.pgid, pull)
		r := s.await(0, "the signal or the end of generation 1", func(r record) bool {
			return r.PID == s.pgid && r.Note == "signal: SIGUSR2" || r.Msg == "older generation is gone"
		})
		if r.PID == s.pgid {
			s.heeds(3, drain.Pulled)
			return
		}
		s.stop() // this machine is too busy to be in time
	}
}

func TestNoSignals(t *testing.T) {
	s := start(t, plan{Fault: "no signals"})
	if got := s.do("swap"); got != "" {
		t.Errorf("Swap: %q", got)
	}
	s.event(2, "promoted")
	s.wantExit(s.pgid, 0)
	s.do("stop")
	s.gone()
	if s.event(2, "stopped").Err != "" {
		t.Error("not a clean stop")
	}

	s = start(t, plan{Fault: "no signals"})
	s.signal(s.pgid, hup)
	s.wantExit(s.pgid, -int(hup))
}

// A supervisor may send its signals to all processes of the service. A candidate has a group of its own.
func TestSignalsToTheWholeGroup(t *testing.T) {
	each(t, map[string]func(*testing.T, *service){
		"stop while an old one drains": func(t *testing.T, s *service) {
			c, open := s.slow("slow")
			s.swap()
			s.event(1, "replaced")
			mark := s.mark()
			s.signal(-s.pgid, term)
			s.noteSince(mark, s.pgid, "signal: SIGTERM")
			s.event(2, "waiting for older generations")
			s.finishSlow(c, open)
			s.event(2, "stopped")
			s.gone()
			s.wantExit(s.pgid, 0)
		},
		"swap in a swap": func(t *testing.T, s *service) {
			l := s.drive(4, time.Millisecond)
			open := s.beginSwap("in Ready")
			mark := s.mark()
			s.signal(-s.pgid, hup)
			s.noteSince(mark, s.pgid, "signal: SIGHUP")
			open()
			s.event(3, "promoted")
			l.end()
			s.heeds(3, drain.Ready)
		},
	}, func(t *testing.T, f func(*testing.T, *service)) { f(t, start(t, plan{})) })
}
