package health

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/ledger"
	"github.com/baton-go/baton/health/internal/rhythm"
)

const outsider = "192.0.2.7:1"

// A person with curl is no prober, but somebody seen once may be a balancer that has just begun.
func TestALoneVisitorHoldsAPullForThreeSeconds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		visits []time.Duration // when, before the pull
		want   time.Duration
	}{
		{"one, just now", []time.Duration{0}, 3 * time.Second},
		{"one, a while ago", []time.Duration{2 * time.Second}, time.Second},
		{"one, a while ago, whose host might send requests", []time.Duration{3 * time.Second}, time.Second},
		{"one, long ago", []time.Duration{15 * time.Second}, 0},
		{"two", []time.Duration{time.Second, 0}, 3 * time.Second},
		{"two, one long ago", []time.Duration{20 * time.Second, 0}, 3 * time.Second},
		{"three at uneven distances", []time.Duration{9 * time.Second, time.Second, 0}, 3 * time.Second},
		{"many at uneven distances", []time.Duration{30 * time.Second, 29 * time.Second, 25 * time.Second,
			12 * time.Second, 11 * time.Second, time.Second, 0}, 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, s *State) {
				for i, ago := range tc.visits {
					probeAs(s, outsider, "curl")
					next := time.Duration(0)
					if i+1 < len(tc.visits) {
						next = tc.visits[i+1]
					}
					time.Sleep(ago - next)
				}
				wantPull(t, s, tc.want, nil)
			})
		})
	}
}

// A balancer has had its answers before the visitor has gone from the ledger.
func TestAVisitorDoesNotHoldAPullBesideABalancer(t *testing.T) {
	for _, at := range []time.Duration{-2 * time.Second, -time.Millisecond, time.Second, 3900 * time.Millisecond} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			meanwhile(t, func() {
				time.Sleep(10*time.Second + at)
				probeAs(s, outsider, "curl")
			})
			probeEvery(s, 2*time.Second, 5)
			wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 20) })
		})
	}
}

// asking has outsiders ask for /ping.
func asking(
	pause func() time.Duration, who func(i int) (remote, agent string),
) func(*State, <-chan struct{}, func() bool) {
	return func(s *State, stop <-chan struct{}, _ func() bool) {
		time.Sleep(pause())
		for i := 0; !closed(stop); i++ {
			remote, agent := who(i)
			probeAs(s, remote, agent)
			time.Sleep(pause())
		}
	}
}

// scans are from another host, or as another program, each time.
var scans = map[string]func(i int) (remote, agent string){
	"User-Agents": func(i int) (string, string) { return outsider, fmt.Sprint("scan/", i) },
	"hosts":       func(i int) (string, string) { return fmt.Sprintf("10.1.%d.%d:1", i/250, i%250), "scan" },
	"both": func(i int) (string, string) {
		return fmt.Sprintf("10.1.%d.%d:1", i/250, i%250), fmt.Sprint("scan/", i)
	},
}

func TestOutsidersAloneHoldAPullForThreeSecondsAtMost(t *testing.T) {
	five := dice(t)
	all := maps.Clone(scans)
	all["five User-Agents"] = func(int) (string, string) { return outsider, fmt.Sprint("scan/", five.IntN(5)) }
	all["one"] = func(int) (string, string) { return outsider, "scan" }
	for name, who := range all {
		t.Run(name, func(t *testing.T) {
			dice := dice(t)
			for _, mean := range []time.Duration{
				20 * time.Millisecond, 300 * time.Millisecond, time.Second, 5 * time.Second,
			} {
				if (testing.Short() || raced) && mean < time.Second {
					continue // thousands of requests a pull
				}
				long := 0
				pause := func() time.Duration { return time.Duration(float64(mean) * dice.ExpFloat64()) }
				for range 20 {
					synctest.Test(t, func(t *testing.T) {
						sim := simulation{healthy: time.Minute, beside: asking(pause, who)}
						if _, noticed := sim.run(t, dice); noticed > 3*time.Second {
							long++
						}
					})
				}
				// Distances that are random are even now and then. A balancer's, taken for random, would cost requests.
				limit := 0
				switch name {
				case "one":
					limit = 5
				case "five User-Agents":
					limit = 10
				}
				if long > limit {
					t.Errorf("every %v: %d of 20 pulls took longer than 3s", mean, long)
				}
			}
		})
	}
}

// A scan doesn't drive out a balancer, at the end of its interval neither, and it doesn't keep one from coming in.
func TestAFloodLeavesTheBalancerInTheLedger(t *testing.T) {
	for name, who := range scans {
		for _, each := range []int{1, 3, 5} { // visits, at even distances if they are more than one
			t.Run(fmt.Sprintf("%s, %d visits each", name, each), func(t *testing.T) {
				bubble(t, Config{}, func(t *testing.T, s *State) {
					probeEvery(s, 2*time.Second, 5)
					probe(s, balancer)
					for range each {
						for i := range 3 * ledger.MaxProbers {
							remote, agent := who(i)
							probeAs(s, remote, agent)
						}
						time.Sleep(300 * time.Millisecond)
					}
					if n := len(s.Probers()); n > ledger.MaxProbers {
						t.Errorf("%d probers", n)
					}
					if !knows(s, "10.0.0.1") {
						t.Error("the balancer is not in the ledger")
					}
					b := s.Export()
					into := newState(t, Config{})
					if err := into.Import(b); err != nil || !knows(into, "10.0.0.1") {
						t.Errorf("the balancer is not in what is exported: %v", err)
					}
				})
			})
		}
	}
}

func knows(s *State, host string) bool {
	for _, p := range s.Probers() {
		if p.Host == host && p.Interval > 0 {
			return true
		}
	}
	return false
}

func TestWhatIsExportedIsBounded(t *testing.T) {
	for _, fill := range []string{"x", "<", "\xff", "\x00", "é", `"`} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			long := strings.Repeat(fill, identity.MaxText)
			for range rhythm.Remembered + 2 {
				probe(s, balancer)
				for i := range ledger.MaxProbers - 1 {
					r := request("GET", fmt.Sprintf("h%d%s", i, long), fmt.Sprintf("%04d%s", i, long))
					r.Host = long
					r.Header.Set("X-Forwarded-For", long)
					s.ServeHTTP(discard{map[string][]string{}}, r)
				}
				time.Sleep(time.Second)
			}
			b := s.Export()
			if len(b) > ledger.MaxEncoded || len(b) < ledger.MaxEncoded/2 {
				t.Errorf("filled with %q: %d bytes", fill, len(b))
			}
			into := newState(t, Config{})
			if err := into.Import(b); err != nil {
				t.Fatal(err)
			}
			if !knows(into, "10.0.0.1") {
				t.Errorf("filled with %q: the balancer is missing", fill)
			}
			if n := len(s.Probers()); n != ledger.MaxProbers {
				t.Errorf("%d probers", n)
			}
		})
	}
}

// The ledger of a version that knew no bound, and no form of a request.
func TestALedgerOfAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		b.WriteString(`{"version":1,"probers":[`)
		for i := range ledger.MaxProbers - 1 {
			fmt.Fprintf(&b, `{"kind":"ping","host":"192.0.2.1","user_agent":"%04d%s","age_ns":1,"gaps_ns":[]},`, i,
				strings.Repeat("x", 250))
		}
		b.WriteString(`{"kind":"ping","host":"10.0.0.1","user_agent":"balancer/1","age_ns":500000000,` +
			`"gaps_ns":[2000000000,2000000000,2000000000,2000000000,2000000000]}]}`)
		s := newState(t, Config{})
		if err := s.Import([]byte(b.String())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 4) })
	})
}

func TestOnlyProbersOfTheConfiguredNetworksCount(t *testing.T) {
	for _, tc := range []struct {
		name, remote, forwarded string
		prober                  bool
	}{
		{"inside", "10.1.2.3:4", "", true},
		{"outside", "192.0.2.7:4", "", false},
		{"IPv6", "[2001:db8::1]:4", "", true},
		{"IPv6, outside", "[2001:db9::1]:4", "", false},
		{"IPv4 in IPv6", "[::ffff:10.1.2.3]:4", "", true},
		{"a unix socket", "@", "", true},
		{"no address", "here", "", false},
		{"a client behind the balancer", "10.1.2.3:4", "198.51.100.7", false},
		{"a client that says it is a balancer", "10.1.2.3:4", "10.9.9.9, 198.51.100.7", false},
		{"a balancer before a proxy", "10.1.2.3:4", "10.9.9.9", true},
		{"likewise, with a port", "10.1.2.3:4", "198.51.100.7, 10.9.9.9:555", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newState(t, Config{Probers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("2001:db8::/32")}})
			r := request("GET", tc.remote, "a")
			if tc.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tc.forwarded)
			}
			s.ServeHTTP(discard{map[string][]string{}}, r)
			if got := len(s.Probers()) == 1; got != tc.prober {
				t.Errorf("a prober: %v, want %v", got, tc.prober)
			}
		})
	}
	_, err := New(Config{Probers: []netip.Prefix{{}}})
	if err == nil || !strings.Contains(err.Error(), "Config.Probers") {
		t.Errorf("an invalid network: %v", err)
	}
}

// forward sends s a probe that a host has forwarded, as a header says.
func forward(s *State, remote, header, value string) {
	r := request("GET", remote, "balancer/1")
	r.Header.Set(header, value)
	s.ServeHTTP(discard{map[string][]string{}}, r)
}

// Where all probes come through a proxy on this machine they are forwarded; the balancer before it is waited for.
func TestForwardedProbesCountWhereNobodyAsksDirectly(t *testing.T) {
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			ask := func(n int) {
				for range n {
					forward(s, "127.0.0.1:1", header, "for=10.0.0.9")
					time.Sleep(2 * time.Second)
				}
			}
			ask(5)
			s.Pull()
			meanwhile(t, func() { ask(3) })
			start := time.Now()
			<-s.Noticed()
			if took := time.Since(start); took < 4*time.Second || took > 6*time.Second {
				t.Errorf("%s: noticed after %v", header, took)
			}
		})
	}
}

func TestForwardedProbesDoNotCountBesideDirectOnes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, s *State) {
		for range 5 {
			forward(s, "127.0.0.1:1", "X-Forwarded-For", "10.0.0.9")
			probeEvery(s, 2*time.Second, 2)
		}
		wantPull(t, s, 4*time.Second+acting, func() { probeEvery(s, 2*time.Second, 3) })
	})
}

// What a balancer's clients ask for through it says that it still sends; somebody else can say that, too, but
// isn't believed.
func TestForwardedPingsAreVisitorsOfABalancer(t *testing.T) {
	for remote, want := range map[string]time.Duration{
		balancer: 6500*time.Millisecond + 1800*time.Millisecond,
		outsider: 4*time.Second + acting,
	} {
		bubble(t, Config{}, func(t *testing.T, s *State) {
			probeEvery(s, 2*time.Second, 5)
			meanwhile(t, func() {
				for range 13 {
					time.Sleep(500 * time.Millisecond)
					forward(s, remote, "X-Forwarded-For", "198.51.100.7")
				}
			})
			wantPull(t, s, want, func() { probeEvery(s, 2*time.Second, 5) })
		})
	}
}

// A balancer that has asked once or twice can't be known, but it sends requests.
func TestABalancerThatHasJustBegunIsWaitedForWhileItSends(t *testing.T) {
	for _, inter := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second} {
		// before the pull, the first time
		for _, asked := range []time.Duration{
			100 * time.Millisecond, 9 * inter / 10, 11 * inter / 10, 19 * inter / 10,
		} {
			synctest.Test(t, func(t *testing.T) {
				sim := simulation{balancers: []simulated{{host: balancer, interval: inter, fall: 3}}, healthy: asked}
				sim.beside = func(s *State, stop <-chan struct{}, in func() bool) {
					for ; in() && !closed(stop); time.Sleep(700 * time.Millisecond) {
						s.Visited("10.0.0.1:1234")
					}
				}
				if out, noticed := sim.run(t, dice(t)); noticed-out > 3*time.Second {
					t.Errorf("inter %v, first asked %v before: out after %v, noticed after %v",
						inter, asked, out, noticed)
				}
			})
		}
	}
}
