//go:build unix

package drain_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// Balancers that ask a health route of the program's own, in each of the ways that work: a pull and a stop wait until
// they have noticed, and no longer. Where the route is the program's alone nobody is said to have noticed.
func TestBalancersOnARouteOfTheProgram(t *testing.T) {
	const route = "/api/healthz"
	type row struct {
		plan plan
		path string
		kind drain.EventKind
		also string // asked all the time, on new connections
	}
	each(t, map[string]row{
		"PingPath":             {plan{PingPath: route}, route, drain.EventPullNoticed, ""},
		"mounted":              {plan{PingPath: "-", Mount: route}, route, drain.EventPullNoticed, ""},
		"mounted beside /ping": {plan{Mount: route}, route, drain.EventPullNoticed, ""},
		"with a query":         {plan{Mount: route}, route + "?full=1", drain.EventPullNoticed, ""},
		"beside a page aside":  {plan{}, "/ping", drain.EventPullNoticed, "/aside"},
		"the program's alone":  {plan{}, "/whoami", drain.EventPullUnasked, ""},
	}, func(t *testing.T, c row) {
		c.plan.PullMax = time.Hour
		s := start(t, c.plan)
		quit, known := make(chan struct{}), make(chan struct{}, 2)
		var balancers sync.WaitGroup
		for n := range 2 { // side by side, so that one always asks between two probes of the other
			balancers.Go(func() {
				<-time.After(time.Duration(n) * 100 * time.Millisecond)
				for tick, asked := time.NewTicker(200*time.Millisecond), 1; ; asked++ {
					a, err := s.connect().ask([]string{"GET", "OPTIONS"}[n], c.path, "")
					if err != nil || a.status == 404 {
						return // the service has stopped
					}
					if asked == 6 {
						known <- struct{}{}
					}
					select {
					case <-tick.C:
					case <-quit:
						return
					}
				}
			})
		}
		balancers.Go(func() {
			for c.also != "" && !isClosed(quit) && s.get(c.also).status == 200 {
			}
		})
		<-known
		<-known
		s.pull()
		if r := s.pullOver(0, 1); r.Kind != c.kind {
			t.Error(r)
		}
		if c.kind == drain.EventPullNoticed && s.get(c.path).status != 501 {
			t.Error("the route does not fail")
		}
		s.restore()
		s.event(1, "restored")
		close(quit)
		balancers.Wait()
		s.signal(s.pgid, syscall.SIGKILL)
	})
}
