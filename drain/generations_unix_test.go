//go:build unix

package drain_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/listener"
)

// lingering is a connection that the newest generation's handler has taken over, and which echoes from then on.
func (s *service) lingering() *client {
	s.Helper()
	c := s.connect()
	a := have(c.ask("GET", "/hijack", ""))(s)
	if a.pid != s.main().PID { // the generation before was quicker than its end
		_ = c.Close()
		return s.lingering()
	}
	return c
}

// say sends a line on a hijacked connection and returns the answer.
func (c *client) say(s *service, line string) string {
	s.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * hung))
	_, err := fmt.Fprintln(c, line)
	if err == nil {
		line, err = c.r.ReadString('\n')
	}
	if err != nil {
		s.Errorf("a hijacked connection: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *client) wantEcho(s *service) {
	s.Helper()
	if line := c.say(s, "still there?"); line != "still there?" {
		s.Errorf("a hijacked connection answers %q", line)
	}
}

// olderAre waits until the older generations have these numbers, and that many hijacked connections each.
func (s *service) olderAre(hijacked int, generations ...int) drain.Status {
	s.Helper()
	return s.eventualStatus(fmt.Sprintf("generations %v with %d connections each", generations, hijacked),
		func(st drain.Status) bool {
			var got []int
			for _, o := range st.Older {
				if o.Open.Hijacked != hijacked || o.Open.Open() != hijacked {
					return false
				}
				got = append(got, o.Generation)
			}
			return slices.Equal(got, generations)
		})
}

// fiveSwaps makes six generations, of which each has some hijacked connections when it is replaced.
func fiveSwaps(t testing.TB, p plan, each int) (s *service, conns map[int][]*client, gens []record) {
	t.Helper()
	s = start(t, p, withControl)
	conns = make(map[int][]*client)
	gens = append(gens, s.main())
	for gen := 1; gen <= 5; gen++ {
		for range each {
			conns[gen] = append(conns[gen], s.lingering())
		}
		gens = append(gens, s.swap())
		st := s.eventualStatus("it to answer", func(st drain.Status) bool { return st.Generation == gen+1 })
		if len(st.Older) != gen { // though their links may be on their way
			t.Errorf("generation %d, just promoted, knows of %+v; want all %d before it", gen+1, st.Older, gen)
		}
	}
	return s, conns, gens
}

func TestFiveSwapsWhileEveryGenerationHasConnections(t *testing.T) {
	const each = 2
	drainTime := 2 * hung
	s, conns, gens := fiveSwaps(t, plan{MaxGenerations: 8, DrainTimeout: drainTime}, each)
	l := s.drive(4, 4*time.Millisecond)
	st := s.olderAre(each, 1, 2, 3, 4, 5)
	for i, o := range st.Older {
		if o.PID != gens[i].PID || o.Phase != drain.Draining || o.Hurried || !o.Deadline.After(o.Since) {
			t.Errorf("%+v; want pid %d to drain", o, gens[i].PID)
		}
		if i > 0 && !o.Deadline.After(st.Older[i-1].Deadline) {
			t.Errorf("generation %d ends at %v, the one before at %v: each has its own time", o.Generation, o.Deadline,
				st.Older[i-1].Deadline)
		}
	}
	for _, cs := range conns {
		for _, c := range cs {
			c.wantEcho(s)
		}
	}
	_ = conns[2][0].Close()
	s.eventualStatus("one connection less in generation 2",
		func(st drain.Status) bool { return st.Older[1].Open.Hijacked == each-1 })
	_ = conns[2][1].Close()
	s.olderAre(each, 1, 3, 4, 5)
	for i, gen := range []int{3, 5, 1} { // each leaves when its last connection goes, whatever the others do
		for _, c := range conns[gen] {
			c.wantEcho(s)
			_ = c.Close()
		}
		s.olderAre(each, [][]int{{1, 4, 5}, {1, 4}, {4}}[i]...)
	}
	for _, c := range conns[4] {
		c.wantEcho(s)
	}
	l.end()
	answer := s.controlLater("stop")
	s.event(6, "waiting for older generations")
	for _, c := range conns[4] {
		c.wantEcho(s)
		_ = c.Close()
	}
	s.wantAnswer(answer)
	s.gone()
	for _, r := range gens {
		s.noteSince(0, r.PID, "exit 0")
	}
	s.wantNothingLost()
}

// The deadline counts from when a generation began to drain, and is that of its own configuration.
func TestEachGenerationHasItsDeadline(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung})
	one := s.lingering()
	s.plan.DrainTimeout = time.Second
	s.replan()
	two := s.swap()
	cut := s.lingering()
	s.plan.DrainTimeout = 2 * hung
	s.replan()
	s.swap()
	three := s.lingering()
	s.swap()
	s.wantIn(s.event(2, "cut off").Err, "DrainTimeout (1s) is over: cut off 1 hijacked connection(s)")
	s.noteSince(0, two.PID, "error ")
	if _, err := cut.r.ReadByte(); err == nil {
		t.Error("what was cut off lives")
	}
	s.olderAre(1, 1, 3)
	one.wantEcho(s)
	three.wantEcho(s)
	_, _ = one.Close(), three.Close()
	s.olderAre(0)
	s.stop()
}

// Older generations that are killed, the oldest or one in the middle, take nothing of the others along.
func TestMiddleGenerationIsKilled(t *testing.T) {
	s, conns, gens := fiveSwaps(t, plan{MaxGenerations: 8, DrainTimeout: 2 * hung}, 1)
	l := s.drive(4, 4*time.Millisecond)
	s.olderAre(1, 1, 2, 3, 4, 5)
	before := s.status().Total
	s.signal(gens[2].PID, syscall.SIGKILL)
	st := s.olderAre(1, 1, 2, 4, 5)
	if st.Total.Swaps != before.Swaps || st.Total.Moved < before.Moved || st.Total.Adopted < before.Adopted {
		t.Errorf("totals go back from %+v to %+v", before, st.Total)
	}
	s.swap()
	s.olderAre(1, 1, 2, 4, 5)
	s.kill(gens[0].PID)
	s.olderAre(1, 2, 4, 5)
	for gen, cs := range conns {
		if gen != 3 && gen != 1 {
			cs[0].wantEcho(s)
			_ = cs[0].Close()
		}
	}
	s.olderAre(0)
	l.end()
	s.stop()
	s.wantNothingLost()
}

// Three older ones and the next make five; the oldest of them is told to leave, and the swap waits until it has.
func TestTheOldestIsHurriedAndSaysSo(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung})
	var conns []*client
	for range 3 {
		conns = append(conns, s.lingering())
		s.swap()
	}
	s.olderAre(1, 1, 2, 3)
	conns = append(conns, s.lingering())
	s.signal(s.main().PID, syscall.SIGHUP)
	st := s.eventualStatus("generation 1 to say that it is hurried", func(st drain.Status) bool {
		return st.Phase == drain.Swapping && len(st.Older) == 3 && st.Older[0].Hurried &&
			st.Older[0].Phase == drain.Draining && st.Older[0].Deadline.Sub(st.Older[0].Since) < hung
	})
	for _, o := range st.Older[1:] {
		if o.Hurried || o.Deadline.Sub(o.Since) < hung {
			t.Errorf("%+v is hurried, too", o)
		}
	}
	s.event(1, "cut off")
	s.event(5, "promoted")
	s.olderAre(1, 2, 3, 4)
	for _, c := range conns[1:] {
		c.wantEcho(s)
		_ = c.Close()
	}
	s.olderAre(0)
	s.stop()
	for _, r := range s.since(0) {
		if strings.HasPrefix(r.Msg, "told to leave") && r.Gen != 1 {
			t.Error(r)
		}
	}
}

// However fast the signals come, and whatever the generations have to finish, there are never more processes
// than allowed.
func TestMaxGenerationsHoldsInAStorm(t *testing.T) {
	const most = 3
	s := start(t, plan{DrainTimeout: 2 * hung, MaxGenerations: most})
	l := s.drive(2, 4*time.Millisecond)
	end := s.storm(dice(t))
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for !isClosed(over) && !t.Failed() {
			all := living(s.pgid)
			for range 20 { // a look may find a helper of the runtime's, which tries pidfds out: generations live longer
				if len(all) <= most {
					break
				}
				<-time.After(time.Millisecond)
				now := living(s.pgid)
				all = slices.DeleteFunc(all, func(pid int) bool { return !slices.Contains(now, pid) })
			}
			if len(all) > most {
				t.Errorf("processes %v live; want %d at most", all, most)
			}
			<-time.After(5 * time.Millisecond) // between two looks
		}
	})
	for gen := 2; gen <= 5; gen++ {
		s.lingering()
		s.event(gen, "promoted")
	}
	end()
	close(over)
	watch.Wait()
	l.end()
	s.wantNothingLost()
}

func TestStopCutsEveryGenerationOff(t *testing.T) {
	s, _, _ := fiveSwaps(t, plan{MaxGenerations: 8, DrainTimeout: 2 * hung}, 1)
	s.olderAre(1, 1, 2, 3, 4, 5)
	s.plan.DrainTimeout = 200 * time.Millisecond
	s.replan()
	s.swap()
	s.olderAre(1, 1, 2, 3, 4, 5)
	_, err := s.control("stop")
	s.wantWords(err, "DrainTimeout (200ms) is over: cut off nothing; older generations: 1 (pid ", ", 5 (pid ",
		", 1 open, until ")
	s.gone()
	for gen := 1; gen <= 5; gen++ {
		s.wantIn(s.event(gen, "cut off").Err, "a newer generation asked to leave: cut off 1 hijacked connection(s)")
	}
}

// wantTotals wants what each generation that is gone has said in its last event, and what the main one counts.
func (s *service) wantTotals(swaps, failed int) {
	s.Helper()
	var sum listener.Counts
	for _, r := range s.since(0) {
		if r.Phase == drain.Stopped {
			sum.Adopted += r.Open.Adopted
			sum.Moved += r.Open.Moved
			sum.Requests += r.Open.Requests
			sum.Aside += r.Open.Aside
		}
	}
	st := s.status()
	sum.Adopted += st.Open.Adopted
	want := drain.Totals{Adopted: sum.Adopted, Moved: sum.Moved, Swaps: swaps, FailedSwaps: failed,
		Requests: sum.Requests + st.Open.Requests, Aside: sum.Aside + st.Open.Aside}
	if st.Total != want || sum.Moved == 0 {
		s.Errorf("%+v; want %+v", st.Total, want)
	}
}

// An older generation that ends between the word to the next generation and the end of the swap is not forgotten.
func TestTotalsOfOneThatEndsInTheSwap(t *testing.T) {
	eachOf(t, func(t *testing.T, how string) {
		s := start(t, plan{DrainTimeout: 2 * hung}, withControl)
		c, open := s.slow("slow")
		s.plan.Owns = []string{"a"}
		s.replan()
		s.swap()
		took := s.beginSwap("Acquire of a waits")
		s.finishSlow(c, open)
		s.wantExit(s.pgid, 0)
		failed := 0
		if how == "it fails" {
			failed = 1
			s.kill(s.event(3, "proven").PID)
		} else {
			took()
		}
		for gen := 1; gen < 3-failed; gen++ {
			s.eventSince(0, gen, "stopped") // one that begins to stop may answer as if it had no older ones
		}
		s.olderAre(0)
		s.wantTotals(2-failed, failed)
		s.stop()
		s.wantNothingLost()
	}, "it succeeds", "it fails")
}

// What a generation has counted is not forgotten with it.
func TestTotalsSurviveTheirGenerations(t *testing.T) {
	s := start(t, plan{MaxGenerations: 16, DrainTimeout: 2 * hung}, withControl)
	l := s.drive(4, 4*time.Millisecond)
	var last drain.Totals
	check := func() {
		t.Helper()
		main := s.main().Gen // while that begins, the one before may answer, with its own
		got := s.eventualStatus("the newest generation's", func(st drain.Status) bool {
			return st.Generation == main
		}).Total
		if got.Adopted < last.Adopted || got.Moved < last.Moved || got.Swaps < last.Swaps ||
			got.FailedSwaps < last.FailedSwaps {
			t.Errorf("totals go back from %+v to %+v", last, got)
		}
		last = got
	}
	var held []*client
	for i := range 6 {
		if i%2 == 1 {
			held = append(held, s.lingering())
		}
		check()
		s.swap()
		check()
	}
	s.failSwap("ready fails")
	check()
	s.swap()
	check()
	for _, c := range held {
		_ = c.Close()
	}
	l.end()
	s.olderAre(0)
	check()
	s.wantTotals(7, 1)
	s.stop()
	s.wantNothingLost()
}
