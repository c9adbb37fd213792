package health

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// beatEvery sends n heartbeats of the balancer, each followed by a pause of one interval.
func (d *door) beatEvery(interval time.Duration, n int) {
	for range n {
		_ = d.knock(balancer)
		time.Sleep(interval)
	}
}

func TestAHeartbeatHasNoticedWhenItMustHaveFailedOftenEnough(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := heartbeat(t, s)
		d.beatEvery(2*time.Second, 5)
		s.Pull()
		wantRefused(t, d.knock(balancer))
		meanwhile(t, func() { d.beatEvery(2*time.Second, 3) })
		time.Sleep(4 * time.Second)
		wantProbers(t, s, Prober{Kind: "heartbeat", Host: "10.0.0.1", Interval: 2 * time.Second,
			LastSeen: time.Now().Add(-6 * time.Second), Failures: 2, Needs: 3, Live: true})
		wantNoticedAfter(t, s, acting)
		if p := s.Probers()[0]; !p.Noticed || p.Failures != 3 {
			t.Errorf("%+v", p)
		}
	})
}

// They reckon with the longest gap, but for one in which a heartbeat was lost.
func TestHeartbeatsThatJitterReckonWithTheLongestGap(t *testing.T) {
	for _, lost := range []time.Duration{0, 2 * time.Second} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			d := heartbeat(t, s)
			d.beatEvery(2*time.Second, 4)
			time.Sleep(lost)
			d.beatEvery(2200*time.Millisecond, 1)
			d.beatEvery(2*time.Second, 4)
			wantPull(t, s, 4700*time.Millisecond, nil) // less one, which was due as the pull came
		})
	}
}

// It can't be seen in a pull, but that is no sign of its death.
func TestAHeartbeatIsWaitedForLongerThanThreeIntervals(t *testing.T) {
	bubble(t, Config{Failures: 5}, func(t *testing.T, s *State) {
		d := heartbeat(t, s)
		for range 5 {
			_ = d.knock("10.0.0.2:1")
			probe(s, balancer)
			time.Sleep(2 * time.Second)
		}
		wantPull(t, s, 8100*time.Millisecond, func() { probeEvery(s, time.Second, 12) })
	})
}

// The sooner after the last one the pull comes, the longer it takes.
func TestHeartbeatsReckonFromTheLastOne(t *testing.T) {
	for ago, want := range map[time.Duration]time.Duration{
		0: 6100 * time.Millisecond, time.Second: 5100 * time.Millisecond, 2 * time.Second: 4100 * time.Millisecond,
		// The next was due: it may be late, or lost.
		2100 * time.Millisecond: 5900 * time.Millisecond, 3900 * time.Millisecond: 4100 * time.Millisecond,
		6 * time.Second: 0, // it has stopped
	} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			d := heartbeat(t, s)
			d.beatEvery(2*time.Second, 5)
			_ = d.knock(balancer)
			time.Sleep(ago)
			wantPull(t, s, want, nil)
		})
	}
}

func TestAHeartbeatPortWhereNobodyWasSeenWaitsForWhoCannotBe(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		heartbeat(t, s)
		time.Sleep(time.Hour)
		if got := s.Probers(); len(got) != 1 || got[0].Kind != "heartbeat" || got[0].Host != "" || !got[0].Live {
			t.Errorf("%+v", got)
		}
		wantPull(t, s, 15*time.Second, nil)
	})
}

// Whoever comes once may be a balancer that has just begun.
func TestAScanOfTheHeartbeatPortHoldsAPullForSixSeconds(t *testing.T) {
	for _, tc := range []struct {
		name string
		ago  time.Duration
		want time.Duration
	}{
		{"just now", 0, 6 * time.Second},
		{"a while ago", 15 * time.Second, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, s *State) {
				if err := heartbeat(t, s).knock("192.0.2.7:1"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tc.ago)
				wantPull(t, s, tc.want, nil)
			})
		})
	}
}

func TestAScanBesideHeartbeatsHoldsAPullNoLongerThanThese(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := heartbeat(t, s)
		d.beatEvery(2*time.Second, 5)
		_ = d.knock("192.0.2.7:1")
		wantPull(t, s, 6*time.Second, nil)
	})
}

func TestHeartbeatsReckonWithFailuresAndPullMax(t *testing.T) {
	for _, tc := range []struct {
		failures int
		want     time.Duration
	}{{1, 100 * time.Millisecond}, {5, 8100 * time.Millisecond}, {15, 30 * time.Second}, {1 << 40, 30 * time.Second}} {
		bubble(t, Config{Failures: tc.failures}, func(t *testing.T, s *State) {
			heartbeat(t, s).beatEvery(2*time.Second, 5)
			wantPull(t, s, tc.want, nil)
		})
	}
}

func TestTheTimeWithoutAPortIsNoGapBetweenHeartbeats(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := heartbeat(t, s)
		d.beatEvery(2*time.Second, 4)
		for range 4 {
			s.Pull()
			d.beatEvery(2*time.Second, 5)
			s.Restore()
			synctest.Wait()
			d.beatEvery(2*time.Second, 1)
		}
		if p := s.Probers()[0]; p.Interval != 2*time.Second {
			t.Errorf("%+v", p)
		}
	})
}

func TestARestoreOpensTheHeartbeatPortAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		d := heartbeat(t, s)
		for range 3 {
			s.Pull()
			wantRefused(t, d.knock(balancer))
			s.Restore()
			synctest.Wait()
			if err := d.knock(balancer); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAHeartbeatPortThatCannotBeOpenedAgainIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, away := newState(t, Config{}), new(door), errors.New("somebody else has it")
		h, err := s.NewHeartbeat(d.listen)
		if err != nil {
			t.Fatal(err)
		}
		s.Pull()
		d.fail(away)
		s.Restore()
		for range 2 {
			if err := h.Serve(); !errors.Is(err, away) {
				t.Errorf("Serve: %v", err)
			}
		}
		d.fail(nil)
		for range 2 {
			ended := make(chan error)
			go func() { ended <- h.Serve() }()
			synctest.Wait()
			if err := d.knock(balancer); err != nil {
				t.Error(err)
			}
			_ = d.ln.Close() // by somebody whose it is not
			if err := <-ended; err == nil {
				t.Error("Serve returned nil though the port is closed")
			}
		}
		h.Close()
		if err := h.Serve(); err != nil {
			t.Errorf("Serve after Close: %v", err)
		}
	})
}

func TestAHeartbeatPortOfAPulledServiceIsOpenedByTheRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newState(t, Config{}), new(door)
		s.Pull()
		h, err := s.NewHeartbeat(d.listen)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		meanwhile(t, func() { _ = h.Serve() })
		synctest.Wait()
		wantRefused(t, d.knock(balancer))
		s.Restore()
		synctest.Wait()
		if err := d.knock(balancer); err != nil {
			t.Error(err)
		}
		h.Close()
		h.Close()
		wantRefused(t, d.knock(balancer))
	})
}

func TestNewHeartbeatReturnsTheErrorOfListen(t *testing.T) {
	s, d, want := newState(t, Config{}), new(door), errors.New("in use")
	d.fail(want)
	if _, err := s.NewHeartbeat(d.listen); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
	if _, err := s.NewHeartbeat(func() (net.Listener, error) { return nil, nil }); err == nil {
		t.Error("no listener and no error: want one")
	}
	if got := s.Probers(); len(got) != 0 {
		t.Errorf("%+v: want nobody to be waited for", got)
	}
}

func TestConnectingIsRefusedWhenPullHasReturned(t *testing.T) {
	dice := dice(t)
	s := newState(t, Config{PullMax: time.Millisecond})
	hold, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := hold.Addr().String()
	_ = hold.Close()
	h, err := s.NewHeartbeat(func() (net.Listener, error) { return net.Listen("tcp", addr) })
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := h.Serve(); err != nil {
			t.Error(err)
		}
	})
	for range 300 {
		s.Pull()
		if nc, err := net.Dial("tcp", addr); err == nil {
			t.Error("connected while pulled")
			_ = nc.Close()
		}
		s.Restore()
		if dice.IntN(2) == 0 {
			continue // and the next pull comes while the port is being opened
		}
		for nc, err := net.Dial("tcp", addr); ; nc, err = net.Dial("tcp", addr) {
			if err == nil {
				_ = nc.Close()
				break
			}
		}
	}
	h.Close()
	served.Wait()
}

func TestAPullWaitsForAHeartbeatPortThatIsBeingOpened(t *testing.T) {
	s, d := newState(t, Config{}), new(door)
	begun, proceed := make(chan struct{}), make(chan struct{})
	s.Pull()
	h, err := s.NewHeartbeat(func() (net.Listener, error) {
		close(begun)
		<-proceed
		return d.listen()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	go func() { _ = h.Serve() }()
	s.Restore()
	<-begun
	pulled := make(chan struct{})
	go func() {
		defer close(pulled)
		s.Pull()
	}()
	select {
	case <-pulled:
		t.Error("Pull has returned, and the port is about to be opened")
	case <-time.After(50 * time.Millisecond):
	}
	close(proceed)
	<-pulled
	wantRefused(t, d.knock(balancer))
}

func TestTheNextGenerationKnowsAgentsAndHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newState(t, Config{})
		d, a := heartbeat(t, old), agent(t, old)
		for range 5 {
			_ = d.knock(balancer)
			a.check(t)
			time.Sleep(2 * time.Second)
		}
		s := newState(t, Config{})
		_, a = heartbeat(t, s), agent(t, s)
		if err := s.Import(old.Export()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		got := s.Probers()
		if len(got) != 2 || got[0].Kind != "agent" || got[1].Kind != "heartbeat" ||
			got[0].Interval != 2*time.Second || got[1].Interval != 2*time.Second {
			t.Fatalf("%+v", got)
		}
		wantPull(t, s, 5*time.Second, func() { a.check(t) }) // one was lost a second ago
	})
}

func TestImportWaitsForProbersOfAnUnknownKind(t *testing.T) {
	s := newState(t, Config{})
	const unknown = `{"version":1,"probers":[` +
		`{"kind":"smoke signal","host":"h","gaps_ns":[1000000000,1000000000]}]}`
	if err := s.Import([]byte(unknown)); err != nil {
		t.Fatal(err)
	}
	if got := s.Probers(); len(got) != 1 || got[0].Kind != "ping" || !got[0].Live {
		t.Errorf("%+v", got)
	}
}

func TestHeartbeatsAreNoticedNeverBeforeTheBalancersAndAtMostOneIntervalAfter(t *testing.T) {
	dice := dice(t)
	for _, intervals := range [][]time.Duration{
		{time.Second}, {2 * time.Second}, {5 * time.Second}, {time.Second, 5 * time.Second},
		{6 * time.Second, 6 * time.Second, 2 * time.Second},
	} {
		for _, fall := range []int{1, 2, 3} {
			for range 10 {
				bs := make([]simulated, len(intervals))
				for i, interval := range intervals {
					host := fmt.Sprintf("10.0.0.%d:1", i+1)
					bs[i] = simulated{host: host, interval: interval, fall: fall, phase: dice.Float64()}
				}
				slowest := slices.Max(intervals)
				const jitter = 20 * time.Millisecond
				synctest.Test(t, func(t *testing.T) {
					out, noticed := simulation{
						cfg: Config{Failures: fall, PullMax: time.Hour}, balancers: bs, jitter: jitter,
						healthy: 12*slowest + dice.within(slowest),
						// The longest of eight gaps may still be a little short of the next ones.
						slack: time.Duration(fall) * 2 * jitter,
						prober: func(t *testing.T, s *State) func(string) bool {
							d := heartbeat(t, s)
							return func(host string) bool { return d.knock(host) == nil }
						},
					}.run(t, dice)
					if noticed > out+slowest+time.Duration(fall)*2*jitter {
						t.Errorf("%v × %d: out after %v, noticed after %v", intervals, fall, out, noticed)
					}
				})
			}
		}
	}
}
