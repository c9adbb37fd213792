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

// run probes by ok until stop is closed, and calls out when it takes the node out.
func (b simulated) run(ok func(host string) bool, dice die, jitter time.Duration, stop <-chan struct{}, out func()) {
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
		if ok(b.host) {
			continue
		}
		if failed++; failed < b.fall {
			wait = recheck
		} else if failed == b.fall {
			out()
		}
	}
}

// simulation is what balancers, and others beside them, do to a State before it is pulled and after.
type simulation struct {
	cfg             Config
	balancers       []simulated
	jitter, healthy time.Duration // of each probe; the time before the pull
	slack           time.Duration // by which the notice may be too early

	// prober returns how balancers probe; nil: by HTTP.
	prober func(t *testing.T, s *State) (ok func(host string) bool)
	// beside happens from the beginning, until stop is closed. In tells whether a balancer still sends traffic.
	beside func(s *State, stop <-chan struct{}, in func() bool)
}

// run returns how long after the pull the last balancer took the node out, and how long after it the pull was noticed.
func (sim simulation) run(t *testing.T, dice die) (out, noticed time.Duration) {
	t.Helper()
	s := newState(t, sim.cfg)
	ok := func(host string) bool { return probe(s, host) == http.StatusOK }
	if sim.prober != nil {
		ok = sim.prober(t, s)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		stop  = make(chan struct{})
		start = time.Now().Add(sim.healthy)
		left  = len(sim.balancers)
	)
	for _, b := range sim.balancers {
		dice := dice.another()
		wg.Go(func() {
			b.run(ok, dice, sim.jitter, stop, func() {
				mu.Lock()
				defer mu.Unlock()
				out = time.Since(start)
				left--
			})
		})
	}
	in := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return left > 0
	}
	if sim.beside != nil {
		wg.Go(func() { sim.beside(s, stop, in) })
	}
	time.Sleep(sim.healthy)
	s.Pull()
	<-s.Noticed()
	noticed = time.Since(start)
	time.Sleep(sim.slack)
	synctest.Wait() // the balancer whose answer it was reads it at the same instant
	if in() {
		t.Errorf("noticed after %v while one of %d balancers still sends traffic", noticed, len(sim.balancers))
	}
	close(stop)
	wg.Wait()
	return out, noticed
}

// traffic arrives every so often after a healthy time, as long as a balancer sends it.
func traffic(healthy, every time.Duration) func(*State, <-chan struct{}, func() bool) {
	return func(s *State, stop <-chan struct{}, in func() bool) {
		time.Sleep(healthy)
		for ; in() && !closed(stop); time.Sleep(every) {
			s.Arrived()
		}
	}
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
			for _, busy := range []bool{false, true} {
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
					// One that needs fewer answers than others is out one of its intervals sooner,
					// and has its margin then.
					over := 2 * jitter
					if slices.ContainsFunc(kinds, func(b simulated) bool { return b.fall < failures }) {
						over += min(slowest/10, acting)
					}
					synctest.Test(t, func(t *testing.T) {
						sim := simulation{
							cfg: Config{PullMax: time.Hour, Failures: failures}, balancers: bs, jitter: jitter,
							healthy: 12*slowest + dice.within(slowest),
						}
						if busy {
							sim.beside = traffic(sim.healthy, 70*time.Millisecond)
						}
						out, noticed := sim.run(t, dice)
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
				healthy := 40*time.Second + dice.within(2*time.Second)
				out, noticed := simulation{balancers: bs, healthy: healthy}.run(t, dice)
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
			healthy := 40*time.Second + dice.within(2*time.Second)
			sim := simulation{balancers: bs, healthy: healthy, beside: traffic(healthy, 50*time.Millisecond)}
			out, noticed := sim.run(t, dice)
			if noticed < out || noticed > out+2*time.Second {
				t.Errorf("out after %v, noticed after %v", out, noticed)
			}
		})
	}
}
