package health

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAPullThatNobodyWatchesIsNoticedAtPullMin(t *testing.T) {
	for _, least := range []time.Duration{0, 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newState(t, Config{PullMin: least})
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
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
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
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
		probeEvery(s, balancer, 5*time.Second, 5)
		s.Pull()
		meanwhile(t, func() { probeEvery(s, balancer, 500*time.Millisecond, 3) })
		wantNoticedAfter(t, s, time.Second+acting)
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
		synctest.Test(t, func(t *testing.T) {
			s := newState(t, Config{PullMax: time.Hour})
			probeEvery(s, balancer, tc.interval, 5)
			s.Pull()
			meanwhile(t, func() { probeEvery(s, balancer, tc.interval, 10) })
			wantNoticedAfter(t, s, 2*tc.interval+tc.margin)
		})
	}
}

// One that comes in while the balancer takes the node out does not make that more than an interval.
func TestArrivalsPutTheNoticeOffByNineTenthsOfTheSlowestLiveProbersInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
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
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{PullMax: 7 * time.Second})
		probeEvery(s, balancer, 5*time.Second, 4)
		s.Pull()
		wantNoticedAfter(t, s, 7*time.Second)
	})
}

func TestPullMinIsWaitedThoughAllHaveNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{PullMin: 10 * time.Second})
		probeEvery(s, balancer, time.Second, 5)
		s.Pull()
		meanwhile(t, func() { probeEvery(s, balancer, time.Second, 20) })
		wantNoticedAfter(t, s, 10*time.Second)
	})
}

func TestAProberThatDiesDuringThePullIsWaitedForThreeIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
		probeEvery(s, balancer, 2*time.Second, 5)
		s.Pull()
		probe(s, balancer)
		wantNoticedAfter(t, s, 6*time.Second)
		if p := s.Probers()[0]; p.Live || p.Noticed {
			t.Errorf("%+v: want neither live nor noticed", p)
		}
	})
}

func TestAProberThatDiedBeforeThePullIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
		probeEvery(s, balancer, 2*time.Second, 5)
		time.Sleep(4 * time.Second)
		s.Pull()
		if !closed(s.Noticed()) {
			t.Error("not noticed at once")
		}
	})
}

func TestAProberThatComesInDuringThePullCountsOnceItHasARhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{PullMin: 5 * time.Second, Failures: 5})
		s.Pull()
		meanwhile(t, func() {
			time.Sleep(900 * time.Millisecond)
			probeEvery(s, balancer, 2*time.Second, 5)
		})
		wantNoticedAfter(t, s, 8900*time.Millisecond+acting)
		if p := s.Probers()[0]; p.Interval != 2*time.Second || p.Failures != 5 || !p.Noticed {
			t.Errorf("%+v: want an interval of 2s, learned in the pull, and 5 failures", p)
		}
	})
}

func TestAPersonWhoCurlsNowAndThenHasNoInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
		for _, pause := range []time.Duration{5, 40, 100, 3, 3600, 20, 0} {
			probe(s, balancer)
			time.Sleep(pause * time.Second)
		}
		if got := s.Probers()[0].Interval; got != 0 {
			t.Errorf("interval = %v", got)
		}
		time.Sleep(16 * time.Second)
		s.Pull()
		if !closed(s.Noticed()) {
			t.Error("not noticed at once")
		}
	})
}

func TestARestoreBeforeTheNoticeLeavesTheChannelOpenAndTheNextPullBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{})
		probeEvery(s, balancer, 2*time.Second, 5)
		s.Pull()
		first := s.Noticed()
		probeEvery(s, balancer, 2*time.Second, 2)
		s.Restore()
		if p := s.Probers()[0]; p.Failures != 0 || p.Noticed {
			t.Errorf("after the restore: %+v", p)
		}
		s.Pull()
		meanwhile(t, func() { probeEvery(s, balancer, 2*time.Second, 3) })
		wantNoticedAfter(t, s, 4*time.Second+acting)
		time.Sleep(time.Minute)
		if closed(first) {
			t.Error("the first pull's channel is closed")
		}
	})
}

func TestATimerOfAnEarlierPullDoesNotEndTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState(t, Config{PullMax: 10 * time.Second})
		probeEvery(s, balancer, 5*time.Second, 5)
		s.Pull()
		time.Sleep(9 * time.Second)
		s.Restore()
		probe(s, balancer)
		s.Pull()
		wantNoticedAfter(t, s, 10*time.Second)
	})
}
