package health

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// simulated is a balancer node as its manual describes it.
type simulated struct {
	host     string
	interval time.Duration
	recheck  time.Duration // interval once a probe has failed, until the node is out
	fall     int           // failing probes until the node is out
	phase    float64       // when its first probe comes, in intervals
}

// run probes s until stop is closed, and calls out when it takes the node out.
func (b simulated) run(s *State, dice die, jitter time.Duration, stop <-chan struct{}, out func()) {
	recheck := b.interval
	if b.recheck > 0 {
		recheck = b.recheck
	}
	wait := time.Duration(b.phase * float64(b.interval))
	for failed := 0; ; {
		select {
		case <-stop:
			return
		case <-time.After(dice.about(wait, jitter)):
		}
		wait = b.interval
		if probe(s, b.host) == http.StatusOK {
			continue
		}
		if failed++; failed < b.fall {
			wait = recheck
		} else if failed == b.fall {
			out()
		}
	}
}

// simulate lets balancers find out about a pull while they send traffic every
// so often, and returns how long after the pull the last of them took the node
// out, and how long after the pull it was noticed.
func simulate(t *testing.T, dice die, failures int, bs []simulated, jitter, traffic,
	healthy time.Duration) (out, noticed time.Duration) {
	s := newState(t, Config{PullMax: time.Hour, Failures: failures})
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		stop  = make(chan struct{})
		start time.Time
		in    = len(bs)
	)
	for _, b := range bs {
		dice := dice.another()
		wg.Go(func() {
			b.run(s, dice, jitter, stop, func() {
				mu.Lock()
				defer mu.Unlock()
				out = time.Since(start)
				in--
			})
		})
	}
	time.Sleep(healthy)
	start = time.Now()
	if traffic > 0 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(traffic):
				}
				mu.Lock()
				if in > 0 {
					s.Arrived()
				}
				mu.Unlock()
			}
		})
	}
	s.Pull()
	<-s.Noticed()
	noticed = time.Since(start)
	synctest.Wait() // the balancer whose answer it was reads it at the same instant
	mu.Lock()
	if in > 0 {
		t.Errorf("noticed after %v while %d of %d balancers still send traffic", noticed, in, len(bs))
	}
	mu.Unlock()
	close(stop)
	wg.Wait()
	return out, noticed
}

func TestNoticedIsNeverBeforeTheBalancersAndAtMostOneIntervalAfter(t *testing.T) {
	haproxy := simulated{interval: 2 * time.Second, fall: 3}
	fastinter := simulated{interval: 2 * time.Second, recheck: 200 * time.Millisecond, fall: 3}
	alibaba := simulated{interval: 2 * time.Second, fall: 3}
	aws := simulated{interval: 30 * time.Second, fall: 2}
	gcp := simulated{interval: 5 * time.Second, fall: 2}
	keepalived := simulated{interval: 60 * time.Second, recheck: 3 * time.Second, fall: 2}
	kubelet := simulated{interval: 10 * time.Second, fall: 3}
	for name, kinds := range map[string][]simulated{
		"haproxy":               {haproxy},
		"haproxy fastinter":     {fastinter},
		"alibaba, eight nodes":  {alibaba, alibaba, alibaba, alibaba, alibaba, alibaba, alibaba, alibaba},
		"aws":                   {aws, aws},
		"gcp":                   {gcp, gcp, gcp},
		"keepalived":            {keepalived},
		"kubelet":               {kubelet},
		"a kubelet and haproxy": {kubelet, haproxy},
		"all":                   {haproxy, fastinter, alibaba, aws, gcp, keepalived, kubelet},
	} {
		t.Run(name, func(t *testing.T) {
			dice := dice(t)
			for _, traffic := range []time.Duration{0, 70 * time.Millisecond} {
				for range 6 {
					var slowest time.Duration
					failures := 0
					bs := make([]simulated, len(kinds))
					for i, b := range kinds {
						b.host = fmt.Sprintf("10.0.0.%d:1", i+1)
						b.phase = dice.Float64()
						bs[i] = b
						slowest = max(slowest, b.interval)
						failures = max(failures, b.fall)
					}
					const jitter = 20 * time.Millisecond
					// One that needs fewer answers than others is out one of its intervals sooner, and has its margin then.
					over := 2 * jitter
					if slices.ContainsFunc(kinds, func(b simulated) bool { return b.fall < failures }) {
						over += min(slowest/10, acting)
					}
					synctest.Test(t, func(t *testing.T) {
						out, noticed := simulate(t, dice, failures, bs, jitter, traffic, 12*slowest+dice.within(slowest))
						// A gap is off by its own jitter at most, and so is the longest remembered.
						if noticed < out || noticed > out+slowest+over {
							t.Errorf("out after %v, noticed after %v, slowest interval %v", out, noticed, slowest)
						}
					})
				}
			}
		})
	}
}

// crowd is by how much more than an interval the notice may be late where others share the identity of a balancer.
const crowd = 2*time.Second*3/100 + acting

func TestWorkersThatShareAnIdentityHaveAllNoticed(t *testing.T) {
	dice := dice(t)
	for _, phases := range [][]float64{{0, .02}, {0, .1}, {0, .3}, {0, .43}, {0, .6}, {0, .1, .3}, {0, .5, .6}} {
		bs := make([]simulated, len(phases))
		for i, phase := range phases {
			bs[i] = simulated{host: balancer, interval: 2 * time.Second, fall: 3, phase: phase}
		}
		for range 10 {
			synctest.Test(t, func(t *testing.T) {
				out, noticed := simulate(t, dice, 3, bs, 0, 0, 40*time.Second+dice.within(2*time.Second))
				if noticed < out || noticed > out+2*time.Second+crowd {
					t.Errorf("phases %v: out after %v, noticed after %v", phases, out, noticed)
				}
			})
		}
	}
}

func TestWorkersAtEvenDistancesHoldThePullByTheirTraffic(t *testing.T) {
	dice := dice(t)
	bs := []simulated{
		{host: balancer, interval: 2 * time.Second, fall: 3},
		{host: balancer, interval: 2 * time.Second, fall: 3, phase: .5},
	}
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			out, noticed := simulate(t, dice, 3, bs, 0, 50*time.Millisecond, 40*time.Second+dice.within(2*time.Second))
			if noticed < out || noticed > out+2*time.Second {
				t.Errorf("out after %v, noticed after %v", out, noticed)
			}
		})
	}
}
