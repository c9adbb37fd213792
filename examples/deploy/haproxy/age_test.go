//go:build linux

package haproxy

import (
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestANodeComesBack: behind a balancer that chooses once a connection, clients that keep theirs come back to a node
// that was away only where connections have an age. Nobody loses a request by it, in a swap neither.
func TestANodeComesBack(t *testing.T) {
	t.Parallel()
	config := strings.NewReplacer("mode http\n", "mode tcp\n", "\ttimeout http-keep-alive 30s\n", "",
		"\thttp-reuse always\n", "").Replace(shipped(t, "haproxy.cfg"))
	const age, clients = 4 * time.Second, 16
	for name, x := range map[string]struct {
		flags []string
		swap  bool
	}{
		"without an age": {nil, true},
		"an age":         {[]string{"-max-connection-age", age.String()}, false},
		"through a swap": {[]string{"-max-connection-age", age.String()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, config, "200ms", append(x.flags, "-probation", "200ms")...)
			load := flow.NewLoad(t, s.Addr, clients, 0)
			load.Reaches(s.b.PID(), clients)
			s.b.Control("stop")
			s.is("b", "DOWN")
			s.b.Control("start")
			s.is("b", "UP")
			back := time.Now()
			if x.swap {
				s.a.Control("reload")
			}
			share := func() float64 { // of node b
				b, all := load.By(s.b.PID()), load.Requests()
				load.Flows(10 * clients)
				return float64(load.By(s.b.PID())-b) / float64(load.Requests()-all)
			}
			if x.flags == nil {
				for time.Since(back) < age {
					if got := share(); got > 0 {
						t.Errorf("%.0f%% come back to b", 100*got)
					}
				}
			} else {
				for got := share(); got < 0.4 || got > 0.6; got = share() {
					if time.Since(back) > 2*age {
						t.Fatalf("b has a share of %.0f%% after %v", 100*got, time.Since(back))
					}
				}
			}
			total := s.a.Status().Total
			t.Logf("%v after b was back: its share is %.0f%%, a has told %d connections, moved %d and lost %d",
				time.Since(back).Round(time.Millisecond), 100*share(), total.Aged, total.Moved, total.Lost)
			if (total.Aged > 0) != (x.flags != nil) || (total.Moved > 0) != x.swap || total.Lost > 0 {
				t.Errorf("%+v", total)
			}
			if t.Log(load.End()); load.Failed() > 0 {
				t.Errorf("%d requests have failed", load.Failed())
			}
		})
	}
}
