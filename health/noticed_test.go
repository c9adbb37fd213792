package health

import (
	"testing"
	"time"
)

func TestAPullThatNobodyWatchesIsNoticedAtPullMin(t *testing.T) {
	for _, least := range []time.Duration{0, 4 * time.Second} {
		bubble(t, Config{PullMin: least}, func(t *testing.T, s *State) {
			s.Arrived()
			s.Pull()
			if least == 0 && !closed(s.Noticed()) {
				t.Error("not noticed when Pull returned")
			}
			wantNoticedAfter(t, s, least)
		})
	}
}

func TestAPullIsNoticedWithTheLastFailingAnswerOfTheLastProber(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for range 10 {
			probe(s, "10.0.0.1:1")
			probe(s, "10.0.0.2:1")
			time.Sleep(2 * time.Second)
		}
		s.Pull()
		for range 2 {
			probe(s, "10.0.0.1:1")
			probe(s, "10.0.0.2:1")
			time.Sleep(2 * time.Second)
		}
		probe(s, "10.0.0.1:1")
		if closed(s.Noticed()) {
			t.Error("noticed though one prober has had two failing answers")
		}
		probe(s, "10.0.0.2:1")
		wantNoticedAfter(t, s, acting)
	})
}

func TestFastRechecksAreNoticedWithoutWaitingForTheInterval(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		probeEvery(s, 5*time.Second, 5)
		wantPull(t, s, time.Second+acting, func() { probeEvery(s, 500*time.Millisecond, 3) })
		if got := s.Probers()[0].Interval; got != 5*time.Second {
			t.Errorf("interval = %v, want the healthy one, 5s", got)
		}
	})
}

// A prober that goes on does not put off what it has noticed, however fast it is.
func TestABalancerHasTimeToActOnItsLastFailingAnswer(t *testing.T) {
	for _, tc := range []struct{ interval, margin time.Duration }{
		{20 * time.Millisecond, 2 * time.Millisecond},
		{500 * time.Millisecond, 50 * time.Millisecond},
		{time.Second, acting},
		{time.Minute, acting},
	} {
		bubble(t, Config{PullMax: time.Hour}, func(t *testing.T, s *State) {
			probeEvery(s, tc.interval, 5)
			wantPull(t, s, 2*tc.interval+tc.margin, func() { probeEvery(s, tc.interval, 10) })
		})
	}
}

// One that comes in while the balancer takes the node out does not make that more than an interval.
func TestArrivalsPutTheNoticeOffByNineTenthsOfTheSlowestLiveProbersInterval(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for i := range 10 {
			probe(s, "10.0.0.1:1")
			if i%2 == 0 {
				probe(s, "10.0.0.2:1")
			}
			time.Sleep(time.Second)
		}
		s.Pull()
		for range 3 { // fast rechecks: both have had theirs at once
			probe(s, "10.0.0.1:1")
			probe(s, "10.0.0.2:1")
			s.Arrived()
		}
		meanwhile(t, func() {
			time.Sleep(1500 * time.Millisecond)
			s.Arrived()
			probe(s, "10.0.0.1:1")
			probe(s, "10.0.0.2:1")
		})
		wantNoticedAfter(t, s, 3300*time.Millisecond)
	})
}

func TestPullMaxEndsTheWait(t *testing.T) {
	bubble(t, Config{PullMax: 7 * time.Second}, func(t *testing.T, s *State) {
		probeEvery(s, 5*time.Second, 4)
		wantPull(t, s, 7*time.Second, nil)
	})
}

func TestPullMinIsWaitedThoughAllHaveNoticed(t *testing.T) {
	bubble(t, Config{PullMin: 10 * time.Second}, func(t *testing.T, s *State) {
		probeEvery(s, time.Second, 5)
		wantPull(t, s, 10*time.Second, func() { probeEvery(s, time.Second, 20) })
	})
}

func TestAProberThatDiesDuringThePullIsWaitedForThreeIntervals(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		probeEvery(s, 2*time.Second, 5)
		s.Pull()
		probe(s, balancer)
		wantNoticedAfter(t, s, 6*time.Second)
		if p := s.Probers()[0]; p.Live || p.Noticed {
			t.Errorf("%+v: want neither live nor noticed", p)
		}
	})
}

func TestAProberThatDiedBeforeThePullIsNotWaitedFor(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		probeEvery(s, 2*time.Second, 5)
		time.Sleep(4 * time.Second)
		wantPull(t, s, 0, nil)
	})
}

func TestAProberThatComesInDuringThePullCountsOnceItHasARhythm(t *testing.T) {
	bubble(t, Config{PullMin: 5 * time.Second, Failures: 5}, func(t *testing.T, s *State) {
		wantPull(t, s, 8900*time.Millisecond+acting, func() {
			time.Sleep(900 * time.Millisecond)
			probeEvery(s, 2*time.Second, 5)
		})
		if p := s.Probers()[0]; p.Interval != 2*time.Second || p.Failures != 5 || !p.Noticed {
			t.Errorf("%+v: want an interval of 2s, learned in the pull, and 5 failures", p)
		}
	})
}

func TestAPersonWhoCurlsNowAndThenHasNoInterval(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for _, pause := range []time.Duration{5, 40, 100, 3, 3600, 20, 0} {
			probe(s, balancer)
			time.Sleep(pause * time.Second)
		}
		if got := s.Probers()[0].Interval; got != 0 {
			t.Errorf("interval = %v", got)
		}
		time.Sleep(16 * time.Second)
		wantPull(t, s, 0, nil)
	})
}

func TestARestoreBeforeTheNoticeLeavesTheChannelOpenAndTheNextPullBeginsAnew(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		probeEvery(s, 2*time.Second, 5)
		s.Pull()
		first := s.Noticed()
		probeEvery(s, 2*time.Second, 2)
		s.Restore()
		if p := s.Probers()[0]; p.Failures != 0 || p.Noticed {
			t.Errorf("after the restore: %+v", p)
		}
		wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 3) })
		time.Sleep(time.Minute)
		if closed(first) {
			t.Error("the first pull's channel is closed")
		}
	})
}

func TestATimerOfAnEarlierPullDoesNotEndTheNextOne(t *testing.T) {
	bubble(t, Config{PullMax: 10 * time.Second}, func(t *testing.T, s *State) {
		probeEvery(s, 5*time.Second, 5)
		s.Pull()
		time.Sleep(9 * time.Second)
		s.Restore()
		probe(s, balancer)
		wantPull(t, s, 10*time.Second, nil)
	})
}
