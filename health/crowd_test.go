package health

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// clientsBehind are clients of a balancer who ask for /ping through it: the address is the balancer's, and so is the
// User-Agent, if they like.
type clientsBehind struct {
	rate      float64 // requests a second
	regular   bool    // at even distances, but for a little
	forwarded bool    // the balancer adds X-Forwarded-For
	same      bool    // a request looks exactly like a probe
	late      bool    // they begin 5 s before the pull, else with the balancer
	young     bool    // the balancer, too, has begun lately: it has asked four times or so before they come

	dice die
}

func (c clientsBehind) String() string {
	return fmt.Sprintf("%v/s regular=%v forwarded=%v same=%v late=%v young=%v", c.rate, c.regular, c.forwarded,
		c.same, c.late, c.young)
}

func (c clientsBehind) ask(s *State) {
	r := request(http.MethodGet, "10.0.0.1:9999", "balancer/1")
	if !c.same {
		r.Header.Set("Accept", "*/*")
	}
	if c.forwarded {
		r.Header.Set("X-Forwarded-For", "198.51.100.7")
	}
	s.ServeHTTP(httptest.NewRecorder(), r)
}

func (c clientsBehind) pause() time.Duration {
	mean := float64(time.Second) / c.rate
	if c.regular {
		return time.Duration(mean) + c.dice.within(3*time.Millisecond)
	}
	return time.Duration(mean * c.dice.ExpFloat64())
}

// behind has the clients of a balancer ask for /ping, too, as long as it sends traffic.
func (c clientsBehind) behind(healthy time.Duration) func(*State, <-chan struct{}, func() bool) {
	return func(s *State, stop <-chan struct{}, in func() bool) {
		if c.late {
			time.Sleep(healthy - 5*time.Second)
		}
		for time.Sleep(c.pause()); in() && !closed(stop); time.Sleep(c.pause()) {
			c.ask(s)
		}
	}
}

// raced says that the race detector looks on, which takes ten times as long.
var raced bool

func TestClientsBehindABalancerDoNotCountAsIt(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() || raced {
		seeds = 1
	}
	for _, c := range []clientsBehind{
		{rate: 5}, {rate: 5, regular: true}, {rate: 5, forwarded: true}, {rate: 1, forwarded: true, regular: true},
		{rate: 1}, {rate: 50}, {rate: 500, late: true}, {rate: 500, forwarded: true},
		{rate: 5, same: true}, {rate: 5, same: true, regular: true}, {rate: 2, same: true}, {rate: 10, same: true},
		{rate: 5, same: true, late: true}, {rate: 1, same: true, late: true, regular: true},
		{rate: 5, same: true, late: true, young: true}, {rate: 1, same: true, late: true, young: true},
		{rate: 5, same: true, late: true, young: true, regular: true}, {rate: 50, same: true, late: true, young: true},
		{rate: 50, same: true, late: true}, {rate: 500, same: true, late: true},
		{rate: 200, same: true, late: true, regular: true},
	} {
		if raced && c.rate >= 200 {
			continue // a million requests, by the path of the others; make test has them
		}
		t.Run(c.String(), func(t *testing.T) {
			slow := 0
			healthy := 90 * time.Second // long enough for the probes to stand out
			if c.rate > 20 && !c.late {
				healthy = 30 * time.Second
			}
			if c.late && c.young {
				healthy = 12 * time.Second
			}
			for _, inter := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second} {
				if c.same && !c.late && c.rate*inter.Seconds() > 25 {
					continue // so many between two probes hide them
				}
				if c.young && inter > 2*time.Second {
					continue
				}
				b := simulated{host: balancer, interval: inter, fall: 3}
				// The same each time: in one of some thousands a few at random look like a rhythm.
				for seed := range seeds {
					c.dice = die{rand.New(rand.NewPCG(seed, uint64(inter)))}
					b.phase = c.dice.Float64()
					synctest.Test(t, func(t *testing.T) {
						healthy := healthy + c.dice.within(inter)
						out, noticed := simulation{
							balancers: []simulated{b}, jitter: 2 * time.Millisecond,
							healthy: healthy, beside: c.behind(healthy),
						}.run(t, c.dice)
						late := noticed - out
						if late > inter+inter*3/100+acting+10*time.Millisecond {
							slow++ // what is random has a rhythm by chance, now and then; that costs time
						}
						if slow > 2 {
							t.Errorf("inter %v: out after %v, noticed after %v", inter, out, noticed)
						}
					})
				}
			}
		})
	}
}
