//go:build linux

// Package traefik is a test of the flow in this folder.
package traefik

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

func TestSwapOfColours(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.release(0, nil, "upgrade", s.build("v1", ""))
	v1 := s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 6, 2)
	load.Reaches(v1, 20)
	s.release(6, nil, "rollback") // there was nothing before

	start := time.Now()
	s.release(0, nil, "upgrade", s.build("v2", ""))
	took := time.Since(start)
	v2 := s.only("green", "v2")
	load.Reaches(v2, 50)

	s.release(0, nil, "upgrade", s.build("v3", ""))
	v3 := s.only("blue", "v3")
	load.Reaches(v3, 50)

	s.release(0, nil, "rollback")
	back := s.only("green", "v2")
	load.Reaches(back, 50)

	load.Report("Traefik", "two swaps of colours and a rollback; one of them", took)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

// TestTheOldColourFinishes: a request that the client takes its time with.
func TestTheOldColourFinishes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "1s")
	s.release(0, nil, "upgrade", s.build("v1", ""))
	v1 := s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 3, 1)

	c, err := net.Dial("tcp", s.web())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nba", s.web())
	flow.Eventually(t, "the request is in flight", func() bool { return s.active("blue") > 0 })

	start := time.Now()
	said := s.release(4, []string{"EMPTY_TIMEOUT=2"}, "upgrade", s.build("v2", ""))
	if !strings.Contains(said, `"active":1`) || !flow.Alive(v1) {
		t.Errorf("pid %d with a request in flight lives: %v, and the script says %q", v1, flow.Alive(v1), said)
	}
	if v2 := flow.Whoami(t, "http://"+s.web()); v2.Version != "v2" {
		t.Errorf("live: %+v, want v2", v2)
	}

	// Back to a colour that still runs: it need not be empty, and is not started.
	s.release(0, nil, "rollback")
	if s.only("blue", "v1") != v1 {
		t.Error("the rollback has put another process in the place of the one that was still there")
	}

	next := flow.Start(t, s.command(nil, "upgrade", s.build("v3", "")))
	flow.Eventually(t, "the next deploy waits for the old colour",
		func() bool { return strings.Contains(next.Output(), "waiting until") })
	fmt.Fprint(c, "ton")
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.HasSuffix(string(answer), "baton") {
		t.Errorf("the request: %q, %v", answer, err)
	}
	<-next.Ended()
	load.Reaches(s.only("green", "v3"), 20)
	load.Report("Traefik", "an upload that outlasts a deploy, a rollback, and a deploy", time.Since(start))
}

// TestABrokenColourGetsNoTraffic, however it is broken.
func TestABrokenColourGetsNoTraffic(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.release(0, nil, "upgrade", s.build("v1", ""))
	s.release(0, nil, "upgrade", s.build("v2", ""))
	v2 := s.only("green", "v2")
	load := flow.NewLoad(t, s.web(), 6, 2)
	start := time.Now()
	check := func(text string) string { return "CHECK=dash " + flow.WriteFile(t, t.TempDir(), "check.sh", text) }
	for _, tc := range []struct{ name, build, env, says string }{
		{"crash", s.build("v3", "crash"), "X=", "exited with code 3"},
		{"hang", s.build("v3", "hang"), "START_TIMEOUT=2", "not ready after 2 s"},
		{"no program", check("exit 1\n")[len("CHECK=dash "):], "X=", "exited with code"},
		{"wrong version", s.build("v3", ""), check("curl -s $URL/whoami | grep -q '\"version\":\"v4\"'\n"),
			"blue fails with the new version: the way back"},
		{"wrong through Traefik", s.build("v3", ""), check("case $URL in *:8001) exit 1 ;; esac\n"),
			"blue fails with the new version, through the balancer"},
	} {
		said := s.release(1, []string{tc.env}, "upgrade", tc.build)
		if !strings.Contains(said, tc.says) || !strings.Contains(said, "green is live, as before") {
			t.Errorf("%s: it says %q, want %q in it", tc.name, said, tc.says)
		}
		s.only("green", "v2")
		// What was never live is nothing to go back to.
		s.release(0, nil, "rollback")
		s.only("green", "v2")
	}
	s.release(2, nil, "upgrade", s.path("missing"))
	if s.only("green", "v2") != v2 {
		t.Error("the live colour is another process than before")
	}
	load.Report("Traefik", "five broken versions, refused", time.Since(start))
	if n := load.By(v2); n != load.Requests() {
		t.Errorf("the live colour has answered %d of %d requests: the rest have gone to a broken one",
			n, load.Requests())
	}
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

// TestSwapInPlace: behind the same Traefik, without a second colour.
func TestSwapInPlace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	n := flow.NewNode(t, s.host+":8081", s.build("v1", ""))
	flow.WriteFile(t, s.dir, "conf.d/live.yml", onlyBlue)
	n.Control("start")
	s.up(n)
	load := flow.NewLoad(t, s.web(), 6, 2)
	start := time.Now()
	const swaps = 3
	for i := range swaps {
		n.Deploy(s.build(fmt.Sprint("v", 2+i%2), ""))
		n.Control("reload")
		load.Reaches(n.PID(), 50)
	}
	load.Report("Traefik", "three swaps in place; one of them", time.Since(start)/swaps)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

// TestTwoServersOfAColour: Traefik's health check as any balancer's. One server
// is restarted, then the other.
func TestTwoServersOfAColour(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	app, err := os.ReadFile(s.path("conf.d/app.yml"))
	if err != nil {
		t.Fatal(err)
	}
	second := s.host + ":8083"
	one := "          - url: http://" + s.host + ":8081\n"
	flow.WriteFile(t, s.dir, "conf.d/app.yml", strings.Replace(string(app), one,
		one+"          - url: http://"+second+"\n", 1))
	flow.WriteFile(t, s.dir, "conf.d/live.yml", onlyBlue)
	nodes := []*flow.Node{
		flow.NewNode(t, s.host+":8081", s.build("v1", "")),
		flow.NewNode(t, second, s.build("v1", "")),
	}
	for _, n := range nodes {
		n.Control("start")
	}
	s.up(nodes...)
	load := flow.NewLoad(t, s.web(), 6, 2)
	start := time.Now()
	for _, n := range nodes {
		load.Reaches(n.PID(), 20)
		n.Deploy(s.build("v2", ""))
		n.Control("restart")
		// The next one goes only when Traefik has this one back.
		s.up(nodes...)
		load.Reaches(n.PID(), 20)
	}
	load.Report("Traefik", "restart of two servers, one after the other", time.Since(start))
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

const onlyBlue = "http: {services: {app: {weighted: {services: [{name: blue}]}}, " +
	"standby: {weighted: {services: [{name: blue}]}}}}\n"

// up waits until Traefik says that it has asked the nodes, and that they are up.
func (s *site) up(nodes ...*flow.Node) {
	s.t.Helper()
	flow.Eventually(s.t, "Traefik has all nodes up", func() bool {
		for _, n := range nodes {
			out, _ := exec.Command("curl", "-s", "http://"+s.host+":8099/api/http/services/blue@file").Output()
			if !strings.Contains(string(out), `"http://`+n.Addr+`":"UP"`) {
				return false
			}
			// It takes what it has never asked to be up.
			if asked, err := exec.Command(n.Path("app"), "-control", n.Path("control"), "-s",
				"status").Output(); err != nil || !strings.Contains(string(asked), "Go-http-client") {
				return false
			}
		}
		return true
	})
}
