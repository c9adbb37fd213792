//go:build linux

package nginx

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is nginx with the folder's configuration, before two instances a and b.
type site struct {
	t     *testing.T
	dir   string
	addr  string // nginx
	a, b  *flow.Node
	nginx *flow.Process
}

func newSite(t *testing.T, build string, flags ...string) *site {
	t.Helper()
	host := flow.Host()
	s := &site{t: t, dir: flow.Dir(t), addr: host + ":8080"}
	s.a = flow.NewNode(t, host+":8081", build, flags...)
	s.b = flow.NewNode(t, host+":8082", build, flags...)
	if err := os.Mkdir(filepath.Join(s.dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]*flow.Node{"a": s.a, "b": s.b} {
		n.Control("start")
		flow.WriteFile(t, s.dir, "site/"+name, n.Settings())
	}
	s.nginx = start(t, s.dir, host)
	return s
}

// start runs nginx with the folder's configuration, on addresses of host.
func start(t testing.TB, dir, host string) *flow.Process {
	t.Helper()
	for _, name := range []string{"nginx.conf", "servers.conf"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		flow.WriteFile(t, dir, name, strings.ReplaceAll(string(text), "127.0.0.1", host))
	}
	command := append(run(t, dir), "-g", "daemon off;")
	p := flow.Start(t, exec.Command(command[0], command[1:]...))
	t.Cleanup(func() {
		p.Process.Signal(os.Interrupt) // its workers would outlive a kill -9
		<-p.Ended()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("nginx's error.log:\n%s", log)
		}
	})
	p.Answers(t, host+":8080")
	return p
}

func run(t testing.TB, dir string) []string {
	// The workers run as another user, who may not enter a temporary folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	nginx := flow.Tool(t, "nginx", "apt-get install nginx-light")
	return []string{nginx, "-p", dir, "-c", "nginx.conf", "-e", "error.log"}
}

// publish runs release.sh and returns its exit code.
func (s *site) publish(args []string, env ...string) int {
	s.t.Helper()
	flow.Tool(s.t, "flock", "apt-get install util-linux")
	flow.Tool(s.t, "ps", "apt-get install procps")
	cmd := flow.Busybox(s.t, "../release.sh", args...)
	cmd.Env = append(append(cmd.Env,
		"BALANCER=nginx", "NODES=a b", "SITE="+filepath.Join(s.dir, "site"), "STATE="+filepath.Join(s.dir, "release"),
		"SERVERS="+filepath.Join(s.dir, "servers.conf"), "NGINX_PID="+filepath.Join(s.dir, "nginx.pid"),
		"RUN_NGINX="+strings.Join(run(s.t, s.dir), " "),
	), env...)
	said, code := flow.Run(s.t, cmd)
	s.t.Logf("release.sh %s: %d\n%s", strings.Join(args, " "), code, said)
	return code
}

func (s *site) versions(t *testing.T, a, b string) {
	t.Helper()
	for n, want := range map[*flow.Node]string{s.a: a, s.b: b} {
		if who := n.Whoami(); who.Version != want || who.Phase != "ready" {
			t.Errorf("%s runs %s and is %s, want %s, ready", n.Addr, who.Version, who.Phase, want)
		}
	}
	servers, err := os.ReadFile(filepath.Join(s.dir, "servers.conf"))
	if err != nil || strings.Count(string(servers), "weight=100;") != 2 {
		t.Errorf("servers.conf, want both with weight 100:\n%s(%v)", servers, err)
	}
}

// TestPublish upgrades one instance after the other. nginx is reloaded, which
// closes idle connections of clients without a look, so theirs are fresh.
func TestPublish(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""))
	// What an instance has open when it is told to stop.
	seen := filepath.Join(s.dir, "seen")
	spy := flow.WriteFile(t, s.dir, "spy.sh", `
[ "$1" != stop ] || ( . "$SITE/$2"; "$BIN" -control "$CONTROL" -s status; echo ) >>`+seen+`
exec sh ../node.sh "$@"
`)

	load := flow.NewLoad(t, s.addr, 0, 8)
	before := time.Now()
	if code := s.publish([]string{"upgrade", flow.Build(t, "nethttp", "v2", "")}, "AT_NODE=dash "+spy); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	took := time.Since(before)
	load.Reaches(s.a.PID(), 20)
	load.Reaches(s.b.PID(), 20)
	load.Report("nginx, two ports", "publish both instances", took)
	s.versions(t, "v2", "v2")

	file, err := os.Open(seen)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stops := 0
	for d := json.NewDecoder(file); d.More(); stops++ {
		var st drain.Status
		if err := d.Decode(&st); err != nil {
			t.Fatal(err)
		}
		if st.Open.Open() != 0 {
			t.Errorf("an instance was told to stop while it had connections: %+v", st.Open)
		}
	}
	if stops != 2 {
		t.Errorf("%d stops, want 2", stops)
	}
}

// TestPublishWaits: a request in flight is why an instance is not stopped yet,
// and what does not end is not cut off.
func TestPublishWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""))
	// Straight to the instance: nginx's own workers are gone long before.
	conn, err := net.Dial("tcp", s.a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\nbat")
	flow.Eventually(t, "the request is in flight", func() bool { return s.a.Status().Open.Active > 0 })

	load := flow.NewLoad(t, s.addr, 0, 4)
	if code := s.publish([]string{"upgrade", flow.Build(t, "nethttp", "v2", "")}, "EMPTY_TIMEOUT=1"); code != 1 {
		t.Fatalf("exit code %d while a request is in flight, want 1", code)
	}
	s.versions(t, "v1", "v1")
	fmt.Fprint(conn, "ton")
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("the slow request: %v, %v", res, err)
	}
	if code := s.publish([]string{"continue"}); code != 0 {
		t.Fatalf("exit code %d of continue, want 0", code)
	}
	s.versions(t, "v2", "v2")
	if load.End().Failed() > 0 {
		t.Error(load)
	}
}

// TestRefused: nothing is touched when something is not as it should be.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""))
	upgrade := []string{"upgrade", flow.Build(t, "nethttp", "v2", "")}
	for _, wrong := range []string{
		"NODES=a c", "SERVERS=/nonexistent", "NGINX_PID=" + s.a.Path("pid"), "NGINX_PID=/nonexistent",
		"RUN_NGINX=/nonexistent",
	} {
		if code := s.publish(upgrade, wrong); code != 6 {
			t.Errorf("%s: exit code %d, want 6", wrong, code)
		}
	}
	// So is a configuration that nginx does not take.
	servers := filepath.Join(s.dir, "servers.conf")
	text, err := os.ReadFile(servers)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"server 127.0.0.1:1; # a", "server 127.0.0.1:1 max_fails=0; # a"} {
		flow.WriteFile(t, s.dir, "servers.conf", line+"\n"+string(text[bytes.IndexByte(text, '\n')+1:]))
		if code := s.publish(upgrade); code != 6 { // it would seem to have no traffic
			t.Errorf("%s: exit code %d, want 6", line, code)
		}
	}
	flow.WriteFile(t, s.dir, "servers.conf", string(text)+"nonsense;\n")
	pid := s.a.PID()
	if code := s.publish(upgrade); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
	if s.a.PID() != pid {
		t.Error("a was touched")
	}
	// What else a line says stays, wherever it stands.
	text = []byte(strings.ReplaceAll(string(text), "weight=100;", "max_fails=0 weight=100 fail_timeout=3s;"))
	linked := flow.WriteFile(t, t.TempDir(), "linked.conf", string(text)) // a link stays one
	if err := os.Remove(servers); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(linked, servers); err != nil {
		t.Fatal(err)
	}
	if code := s.publish(upgrade); code != 0 {
		t.Errorf("exit code %d after that, want 0", code)
	}
	if to, err := os.Readlink(servers); to != linked {
		t.Errorf("servers.conf leads to %q, want %q (%v)", to, linked, err)
	}
	got, err := os.ReadFile(linked)
	if want := "max_fails=0 fail_timeout=3s weight=100; # "; err != nil || strings.Count(string(got), want) != 2 {
		t.Errorf("servers.conf, want %q in both lines (%v):\n%s", want, err, got)
	}
	s.versions(t, "v2", "v2")
}

// TestTwoReleases: two that share SERVERS, each with nodes and a STATE of its own. The second one comes when the first
// has read the file and not yet written it.
func TestTwoReleases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	there := func(name string) func() bool {
		return func() bool { _, err := os.Stat(at(name)); return err == nil }
	}
	servers := flow.WriteFile(t, dir, "servers.conf", "server 127.0.0.1:1 weight=100; # a\n"+
		"server 127.0.0.1:2 weight=100; # b\n")
	balancer := func(does, then string, args ...string) *flow.Process {
		real := flow.Tool(t, does, "apt-get install "+does)
		bin := t.TempDir()
		if err := os.Chmod(flow.WriteFile(t, bin, does, "#!/bin/sh\n"+fmt.Sprintf(then, real)), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("dash", append([]string{"../balancer.sh"}, args...)...)
		cmd.Env = append(os.Environ(), "BALANCER=nginx", "NODES=a b", "SERVERS="+servers, "RUN_NGINX=true",
			"NGINX_PID="+at("none"), "PATH="+bin+":"+os.Getenv("PATH"))
		return flow.Start(t, cmd)
	}
	first := balancer("awk", "%s \"$@\"\n>"+at("read")+"\nuntil [ -e "+at("on")+" ]; do sleep 0.01; done\n",
		"in", "a", "50")
	flow.Eventually(t, "the first one has read", there("read"))
	second := balancer("flock", ">"+at("waits")+"\nexec %s \"$@\"\n", "out", "b")
	flow.Eventually(t, "the second one is done, or waits", func() bool {
		select {
		case <-second.Ended():
			return true
		default:
			return there("waits")()
		}
	})
	flow.WriteFile(t, dir, "on", "")
	for _, p := range []*flow.Process{first, second} {
		if <-p.Ended(); p.ProcessState.ExitCode() != 0 {
			t.Errorf("exit code %d, want 0", p.ProcessState.ExitCode())
		}
	}
	got, err := os.ReadFile(servers)
	if want := "server 127.0.0.1:1 weight=50; # a\nserver 127.0.0.1:2 down; # b\n"; string(got) != want {
		t.Errorf("servers.conf, want what both have written (%v):\n%s", err, got)
	}
}

// TestSwap: the same by the library's own swap. Nothing is marked down, nothing
// is reloaded, and clients keep their connections, as nginx keeps its own.
func TestSwap(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""))
	load := flow.NewLoad(t, s.addr, 8, 4)
	before := time.Now()
	var took time.Duration
	for _, version := range []string{"v2", "v1", "v2"} {
		for _, n := range []*flow.Node{s.a, s.b} {
			n.Deploy(flow.Build(t, "nethttp", version, ""))
			n.Control("reload")
			took = max(took, time.Since(before))
			load.Reaches(n.PID(), 20)
			before = time.Now()
		}
	}
	adopted := s.a.Status().Open.Adopted + s.b.Status().Open.Adopted
	load.Report("nginx, two ports", "swap in place, the longest of six", took)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d clients have lost their connection to nginx, want 0", n)
	}
	if adopted == 0 {
		t.Error("no connection of nginx has been handed over: did it keep any alive?")
	}
	s.versions(t, "v2", "v2")
	if log, _ := os.ReadFile(filepath.Join(s.dir, "error.log")); strings.Contains(string(log), "[error]") {
		t.Errorf("nginx has seen errors:\n%s", log)
	}
}
