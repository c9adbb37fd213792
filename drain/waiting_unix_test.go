//go:build unix

package drain_test

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// A person looks at /ping, and then presses Ctrl-C. That is no balancer, and nothing waits.
func TestAVisitorHoldsNoCtrlC(t *testing.T) {
	get := func(s *service, agent, path string) {
		c := s.connect()
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n", path, agent)
		must(s, err)
		if a, err := c.receive(); err != nil || a.status == 501 {
			s.Fatal(a, err)
		}
		_ = c.Close()
	}
	each(t, map[string]func(s *service){
		"nobody":             func(*service) {},
		"curl":               func(s *service) { get(s, "curl", "/ping") },
		"curl and a browser": func(s *service) { get(s, "curl", "/ping"); get(s, "Mozilla", "/ping") },
		"requests too": func(s *service) {
			get(s, "curl", "/ping")
			get(s, "curl", "/whoami")
			get(s, "curl", "/whoami")
		},
		"before a swap":        func(s *service) { get(s, "curl", "/ping"); s.swap(); s.exit(s.pgid) },
		"a pull before":        func(s *service) { get(s, "curl", "/ping"); s.pull(); s.event(1, "waiting") },
		"in a swap that fails": func(s *service) { get(s, "curl", "/ping"); s.beginSwap("in Ready") },
	}, func(t *testing.T, busy func(*service)) {
		s := start(t, plan{PullMax: time.Hour})
		busy(s)
		mark, pid := s.mark(), s.main().PID
		s.signal(pid, syscall.SIGINT)
		s.gone()
		s.wantExit(pid, 0)
		if r := s.await(mark, "the end of the pull", endsWait); r.Kind != drain.EventPullUnasked {
			t.Error(r)
		}
		s.wantOrder(func(r record) bool { return r.PID == pid && endsWait(r) },
			func(r record) bool { return r.PID == pid && r.Msg == "draining" })
		s.wantNone(mark, "waiting")
	})
}

// Whatever a service waits for, it says so, and again while it lasts: what, since when, until when, how to leave now.
func TestWhatIsWaitedForIsSaid(t *testing.T) {
	const leave = "leave="
	const once = `"127.0.0.1 (asked once, 0 of 3 failing answers)"`
	const nowAndThen = `"127.0.0.1 (asks now and then, 0 of 3 failing answers)"`
	type row struct {
		plan plan
		busy func(s *service)
		sig  syscall.Signal
		want []string
	}
	twice := func(s *service) { s.get("/ping"); s.get("/ping") }
	older := func(s *service) { s.slow("slow"); s.swap(); s.event(1, "replaced") }
	request := func(s *service) { s.slow("slow") }
	each(t, map[string]row{
		"a visitor":           {plan{}, func(s *service) { s.get("/ping") }, term, []string{once, leave}},
		"a prober, by Ctrl-C": {plan{}, twice, syscall.SIGINT, []string{nowAndThen, leave}},
		"a prober, in a pull": {plan{}, twice, pull, []string{nowAndThen}},
		"PullMin":             {plan{PullMin: time.Hour}, func(*service) {}, pull, []string{"PullMin"}},
		"Leave":               {plan{Fault: "slow leave"}, func(*service) {}, term, []string{"Config.Leave", leave}},
		"a request":           {plan{}, request, term, []string{`"1 active connection(s)"`, leave}},
		"work": {plan{Worker: true, Fault: "slow work"}, func(s *service) { s.noteSince(0, 0, "work begun") },
			term, []string{`"background work: worker"`, leave}},
		"an older generation": {plan{}, older, term, []string{`"older generations: 1 (pid`, leave}},
		"what it drains":      {plan{}, older, 0, []string{`"1 active connection(s)"`}},
		"the next generation": {plan{}, func(s *service) { s.beginSwap("in Ready") },
			0, []string{`"generation 2 to take over"`}},
		"Config.Ready": {plan{Fault: "in Ready"}, func(*service) {}, 0, []string{"Config.Ready"}},
	}, func(t *testing.T, c row) {
		c.plan.PullMax, c.plan.DrainTimeout, c.plan.SayAgain = 2*time.Hour, time.Hour, 10*time.Millisecond
		s := begin(t, c.plan, func(s *service, _ *exec.Cmd) {
			if c.plan.Fault != "" {
				s.nextAt(c.plan.Fault)
			}
		})
		if c.plan.Fault != "in Ready" {
			s.event(1, "ready")
		}
		c.busy(s)
		if c.sig != 0 {
			s.signal(s.main().PID, c.sig)
		}
		s.awaitLine(append(c.want, "msg=waiting", "since=")...)
	})
}
