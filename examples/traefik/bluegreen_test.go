//go:build linux

// Package traefik is a test of the flow in this folder.
package traefik

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is this folder as an operator has it, with a Traefik that runs, at an
// address of its own.
type site struct {
	t       *testing.T
	host    string
	dir     string
	args    string
	traefik *flow.Process
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	bin := flow.Tool(t, "traefik", "run .ci/get-traefik DIR and put DIR on the PATH")
	flow.Tool(t, "dash", "apt-get install dash")
	flow.Tool(t, "flock", "apt-get install util-linux")
	s := &site{t: t, host: flow.Host(), dir: flow.Dir(t), args: strings.Join(args, " ")}
	// Quicker probes, as nothing but waiting hangs on them.
	own := strings.NewReplacer("127.0.0.1", s.host, "nterval: 1s", "nterval: 200ms")
	for _, name := range []string{"traefik.yml", "conf.d/app.yml"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(s.path(name)), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		flow.WriteFile(t, s.dir, name, own.Replace(string(text)))
	}
	t.Cleanup(func() {
		for _, colour := range []string{"blue", "green"} {
			log, _ := os.ReadFile(s.path(colour + "/log"))
			if t.Failed() {
				t.Logf("the log of %s:\n%s", colour, log)
			}
			if strings.Contains(string(log), "DATA RACE") {
				t.Errorf("%s has a data race:\n%s", colour, log)
			}
			for _, pid := range s.running(colour) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	cmd := exec.Command(bin, "--configFile=traefik.yml")
	cmd.Dir = s.dir
	s.traefik = flow.Start(t, cmd)
	s.traefik.Answers(t, s.host+":8099")
	s.traefik.Answers(t, s.web())
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }
func (s *site) web() string             { return s.host + ":8000" }

func (s *site) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("dash", append([]string{filepath.Join(flow.Examples(), "traefik", "bluegreen.sh")}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "SITE="+s.path(""), "ARGS="+s.args,
		"BLUE=http://"+s.host+":8081", "GREEN=http://"+s.host+":8082", "PREVIEW=http://"+s.host+":8001", "API=http://"+s.host+":8099")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// bluegreen runs the script, and wants that exit code.
func (s *site) bluegreen(want int, env []string, args ...string) string {
	s.t.Helper()
	said, code := flow.Run(s.t, s.command(env, args...))
	s.t.Logf("%s: bluegreen.sh %s: %d\n%s", s.host, strings.Join(args, " "), code, said)
	if code != want {
		s.t.Fatalf("%s: bluegreen.sh %s: exit code %d, want %d", s.host, strings.Join(args, " "), code, want)
	}
	return said
}

// running are the processes of a colour, whatever file they have been started from.
func (s *site) running(colour string) (pids []int) {
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		pid, _ := strconv.Atoi(strings.Split(exe, "/")[2])
		if to, err := os.Readlink(exe); err == nil && strings.HasPrefix(to, s.path(colour)+"/app") && flow.Alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// only wants a colour live and the other one gone. It returns the live pid.
func (s *site) only(colour, version string) int {
	s.t.Helper()
	other := map[string]string{"blue": "green", "green": "blue"}[colour]
	if pids := s.running(other); len(pids) > 0 {
		s.t.Fatalf("%s still runs: %v", other, pids)
	}
	pids := s.running(colour)
	who := flow.Whoami(s.t, "http://"+s.web())
	if len(pids) != 1 || who.PID != pids[0] || who.Version != version || who.Phase != "ready" {
		s.t.Fatalf("through Traefik answers %+v, want version %s of %s, whose processes are %v", who, version, colour, pids)
	}
	return pids[0]
}

func (s *site) build(version, fault string) string { return flow.Build(s.t, "nethttp", version, fault) }

func TestSwapOfColours(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bluegreen(0, nil, "deploy", s.build("v1", ""))
	v1 := s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 6, 2)
	load.Reaches(v1, 20)

	start := time.Now()
	s.bluegreen(0, nil, "deploy", s.build("v2", ""))
	took := time.Since(start)
	v2 := s.only("green", "v2")
	load.Reaches(v2, 50)

	s.bluegreen(0, nil, "deploy", s.build("v3", ""))
	v3 := s.only("blue", "v3")
	load.Reaches(v3, 50)

	s.bluegreen(0, nil, "rollback")
	back := s.only("green", "v2")
	load.Reaches(back, 50)

	load.Report("traefik", "two swaps of colours and a rollback; one of them", took)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}

// TestTheOldColourFinishes: a request that takes longer than the service would
// wait for in a stop, and a connection that a handler has taken over.
func TestTheOldColourFinishes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "-drain-timeout", "1ms")
	s.bluegreen(0, nil, "deploy", s.build("v1", ""))
	v1 := s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 3, 1)

	slow := &flow.Client{Dial: func() (net.Conn, error) { return net.Dial("tcp", s.web()) }, Host: s.web()}
	defer slow.Close()
	type end struct {
		err   error
		alive bool
	}
	ended := make(chan end, 1)
	go func() {
		_, _, err := slow.Do("GET", "/slow?d=6s", nil)
		ended <- end{err, flow.Alive(v1)}
	}()
	flow.Eventually(t, "the slow request is in flight", func() bool { return s.active("blue") > 0 })

	s.bluegreen(150, []string{"EMPTY_TIMEOUT=1"}, "deploy", s.build("v2", ""))
	if len(ended) > 0 {
		t.Skip("the machine was too slow for this: the request has ended before the deploy")
	}
	if !flow.Alive(v1) {
		t.Error("the old colour was stopped with a request in flight")
	}
	v2 := flow.Whoami(t, "http://"+s.web())
	if v2.Version != "v2" {
		t.Errorf("live: %+v, want v2", v2)
	}
	// The next run goes on.
	s.bluegreen(0, nil, "deploy", s.build("v3", ""))
	if e := <-ended; e.err != nil || !e.alive {
		t.Errorf("the slow request: %v; its process alive: %v", e.err, e.alive)
	}
	load.Reaches(s.only("blue", "v3"), 20)
	if n := load.End().Failed(); n > 0 {
		t.Error(load)
	}
}

// active is the number of requests in flight as the colour's control socket has it.
func (s *site) active(colour string) int {
	s.t.Helper()
	out, err := exec.Command(s.path(colour+"/app"), "-control", s.path(colour+"/control"), "-s", "status").Output()
	var status struct{ Open struct{ Active int } }
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		s.t.Fatalf("status of %s: %v", colour, err)
	}
	return status.Open.Active
}

// TestABrokenColourGetsNoTraffic, however it is broken.
func TestABrokenColourGetsNoTraffic(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bluegreen(0, nil, "deploy", s.build("v1", ""))
	s.bluegreen(0, nil, "deploy", s.build("v2", ""))
	v2 := s.only("green", "v2")
	load := flow.NewLoad(t, s.web(), 6, 2)
	start := time.Now()
	script := flow.WriteFile(t, t.TempDir(), "app", "#!/bin/sh\nexit 1\n")
	for _, tc := range []struct{ name, build, env, says string }{
		{"crash", s.build("v3", "crash"), "X=", "exited with code 3"},
		{"hang", s.build("v3", "hang"), "START_TIMEOUT=2", "not ready after 2 s"},
		{"not executable", script, "X=", "is no executable file"},
		{"wrong version", s.build("v3", ""), "CHECK=curl -s $URL/whoami | grep -q '\"version\":\"v4\"'", "fails its check"},
		{"wrong through Traefik", s.build("v3", ""), "CHECK=case $URL in *:8001) exit 1 ;; esac", "fails its check through Traefik"},
	} {
		said := s.bluegreen(1, []string{tc.env}, "deploy", tc.build)
		if !strings.Contains(said, tc.says) || !strings.Contains(said, "green is live, as before") {
			t.Errorf("%s: it says %q, want %q in it", tc.name, said, tc.says)
		}
		s.only("green", "v2")
	}
	s.bluegreen(5, nil, "deploy", s.path("missing"))
	// What was never live is nothing to go back to.
	if said := s.bluegreen(7, nil, "rollback"); !strings.Contains(said, "never live") {
		t.Errorf("rollback says %q", said)
	}
	if s.only("green", "v2") != v2 {
		t.Error("the live colour is another process than before")
	}
	load.Report("traefik", "five broken versions, refused", time.Since(start))
	if n := load.By(v2); n != load.Requests() {
		t.Errorf("the live colour has answered %d of %d requests: the rest have gone to a broken one", n, load.Requests())
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
	flow.WriteFile(t, s.dir, "conf.d/live.yml", "http:\n  services:\n"+
		"    app: {weighted: {services: [{name: blue, weight: 1}]}}\n    standby: {weighted: {services: [{name: blue, weight: 1}]}}\n")
	n.Control("start")
	flow.Eventually(t, "Traefik reaches the service", func() bool {
		return exec.Command("curl", "-sfo", "/dev/null", "http://"+s.web()+"/livez").Run() == nil
	})
	load := flow.NewLoad(t, s.web(), 6, 2)
	start := time.Now()
	const swaps = 3
	for i := range swaps {
		n.Deploy(s.build(fmt.Sprint("v", 2+i%2), ""))
		n.Control("reload")
		load.Reaches(n.PID(), 50)
	}
	load.Report("traefik", "three swaps in place; one of them", time.Since(start)/swaps)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}
}
