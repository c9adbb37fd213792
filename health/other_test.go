package health

import (
	"testing"
	"time"

	"github.com/baton-go/baton/health/internal/ledger"
)

func TestProbesOfAnotherProtocolAreWaitedForLikePings(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for range 5 {
			s.Probed(balancer, "grpc-go/1")() // while all is well, failing answers are some other matter
			time.Sleep(2 * time.Second)
		}
		s.Pull()
		for range 3 {
			if closed(s.Noticed()) {
				t.Error("noticed before three failing answers")
			}
			failed := s.Probed(balancer, "grpc-go/1")
			time.Sleep(2 * time.Second)
			failed()
		}
		wantNoticedAfter(t, s, acting)
		if got := s.Probers(); len(got) != 1 || got[0].Interval != 2*time.Second || !got[0].Noticed {
			t.Errorf("%+v", got)
		}
	})
}

// An answer may be made up before the pull and another after: what counts is what was said.
func TestAProbeThatWasAnsweredWellHasNotFailed(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for range 4 {
			s.Probed(balancer, "")
			time.Sleep(time.Second)
		}
		s.Pull()
		s.Probed(balancer, "")
		if got := s.Probers(); len(got) != 1 || got[0].Failures != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestAFailingAnswerBelongsToThePullItWasGivenIn(t *testing.T) {
	s := newState(t, Config{})
	failed := s.Probed(balancer, "")
	s.Pull()
	s.Restore()
	failed()
	s.Pull()
	if got := s.Probers(); got[0].Failures != 0 {
		t.Errorf("%+v", got)
	}
	failed()
	if got := s.Probers(); got[0].Failures != 1 {
		t.Errorf("%+v", got)
	}
}

func TestOurOwnProbesLeaveNoTrace(t *testing.T) {
	s := newState(t, Config{})
	s.Probed("pipe", "")()
	failed, gone := s.Watched("pipe", "")
	failed()
	gone()
	if got := s.Probers(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAPullIsNoticedWhenAllWhoWatchHaveBeenToldOrAreGone(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		one, _ := s.Watched(balancer, "")
		two, _ := s.Watched(balancer, "") // the same client, another stream
		_, gone := s.Watched("10.0.0.2:1", "")
		wantPull(t, s, 2*time.Second+acting, func() {
			one()
			one()
			time.Sleep(time.Second)
			gone()
			gone()
			time.Sleep(time.Second)
			two()
		})
	})
}

func TestWhoGoesNeedsNoTimeToAct(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		_, gone := s.Watched(balancer, "")
		s.Pull()
		if closed(s.Noticed()) {
			t.Error("noticed before")
		}
		gone()
		wantNoticedAfter(t, s, 0)
	})
}

func TestEachPullIsToldAnew(t *testing.T) {
	bubble(t, Config{PullMax: time.Minute}, func(t *testing.T, s *State) {
		failed, _ := s.Watched(balancer, "")
		failed() // of something else
		for range 2 {
			s.Pull()
			if got := s.Probers(); len(got) != 1 || got[0].Kind != "watch" || !got[0].Live || got[0].Noticed ||
				closed(s.Noticed()) {
				t.Errorf("%+v", got)
			}
			failed()
			if got := s.Probers(); !got[0].Noticed {
				t.Errorf("%+v", got)
			}
			wantNoticedAfter(t, s, acting)
			s.Restore()
		}
		wantPull(t, s, time.Minute, nil) // it does not react
	})
}

// One who was told that all is well just before the status changed.
func TestOneWhoWatchesSinceThePullIsWaitedForToo(t *testing.T) {
	bubble(t, Config{PullMin: 10 * time.Second}, func(t *testing.T, s *State) {
		s.Pull()
		failed, _ := s.Watched(balancer, "")
		meanwhile(t, func() {
			time.Sleep(11 * time.Second)
			failed()
		})
		wantNoticedAfter(t, s, 11*time.Second+acting)
	})
}

func TestWhoWatchesIsNotExportedAndDrivesNobodyOut(t *testing.T) {
	s := newState(t, Config{})
	probe(s, "10.0.0.9:1")
	for range 3 * ledger.MaxProbers {
		s.Watched(balancer, "")
	}
	other := newState(t, Config{})
	if err := other.Import(s.Export()); err != nil {
		t.Fatal(err)
	}
	if got := other.Probers(); len(got) != 1 || got[0].Kind != "ping" {
		t.Errorf("%+v", got)
	}
}
