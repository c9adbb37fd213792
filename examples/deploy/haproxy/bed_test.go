//go:build linux

package haproxy

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/baton-go/baton/health"
)

func TestMain(m *testing.M) {
	flow.Keeper = "" // release.sh wants all that the services get in its settings
	flow.Main(m)
}

// balancer is a real HAProxy.
type balancer struct {
	*flow.Process
	t     testing.TB
	Addr  string // where it serves
	stats string
}

// balance starts HAProxy with a configuration of this folder's kind.
func balance(t testing.TB, config, addr string, env ...string) *balancer {
	t.Helper()
	bin := flow.Tool(t, "haproxy", "apt-get install haproxy")
	b := &balancer{t: t, Addr: addr, stats: filepath.Join(flow.Dir(t), "stats")}
	cmd := exec.Command(bin, "-db", "-f", config)
	cmd.Env = append(append(os.Environ(), "BIND="+addr, "STATS="+b.stats), env...)
	b.Process = flow.Start(t, cmd)
	b.Answers(t, addr)
	return b
}

// server is what HAProxy says of one, by the names of "show stat".
func (b *balancer) server(name string) map[string]string {
	b.t.Helper()
	return flow.Servers(b.t, b.stats)[name]
}

func (b *balancer) is(name, status string) {
	b.t.Helper()
	flow.Eventually(b.t, fmt.Sprintf("HAProxy at %s says that %s is %s", b.Addr, name, status),
		func() bool { return b.server(name)["status"] == status })
}

// event returns when HAProxy has logged that a server is DOWN or UP: the last time.
func (b *balancer) event(name, status string) (at time.Time) {
	b.t.Helper()
	re := regexp.MustCompile(`(?m)^(?:<\d+>)?(\S+) Server app/` + name + ` is ` + status + `\b`)
	for _, m := range re.FindAllStringSubmatch(b.Output(), -1) {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, m[1]); err != nil {
			b.t.Fatal(err)
		}
	}
	if at.IsZero() {
		b.t.Fatalf("HAProxy has not logged that %s is %s:\n%s", name, status, b.Output())
	}
	return at
}

var (
	stoppingLine = regexp.MustCompile(`(?m)^time=(\S+) .* msg=stopping `)
	drainingLine = regexp.MustCompile(`(?m)^time=(\S+) .* kind=draining `)
)

// drains tells whether a node has stopped accepting in order to stop.
func drains(n *flow.Node) bool {
	log, _ := os.ReadFile(n.Path("log"))
	return drainingLine.Match(log)
}

// draining returns when a node stopped accepting: the last time.
func draining(t testing.TB, n *flow.Node) time.Time {
	t.Helper()
	return logged(t, n, drainingLine)
}

// logged returns the time of the last line of a node's log that matches.
func logged(t testing.TB, n *flow.Node, line *regexp.Regexp) (at time.Time) {
	t.Helper()
	log, _ := os.ReadFile(n.Path("log"))
	for _, m := range line.FindAllSubmatch(log, -1) {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, string(m[1])); err != nil {
			t.Fatal(err)
		}
	}
	if at.IsZero() {
		t.Fatalf("the log of %s has no line that matches %s", n.Addr, line)
	}
	return at
}

// shipped returns a file of this folder.
func shipped(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// site is two nodes behind HAProxy, and an operator's settings for release.sh.
type site struct {
	*balancer
	tb   testing.TB
	a, b *flow.Node
	dir  string
}

func newSite(t testing.TB, config, inter string, flags ...string) *site {
	t.Helper()
	flow.Tool(t, "socat", "apt-get install socat")
	host := flow.Host()
	v1 := flow.Build(t, "nethttp", "v1", "")
	s := &site{tb: t, dir: flow.Dir(t)}
	s.a = flow.NewNode(t, host+":8081", v1, slices.Concat(flags, []string{"-agent", host + ":9081"})...)
	s.b = flow.NewNode(t, host+":8082", v1, slices.Concat(flags, []string{"-agent", host + ":9082"})...)
	if err := os.Mkdir(filepath.Join(s.dir, "nodes"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]*flow.Node{"a": s.a, "b": s.b} {
		n.Control("start")
		flow.WriteFile(t, filepath.Join(s.dir, "nodes"), name, n.Settings())
	}
	s.balancer = s.another(config, host+":80", inter)
	// Not earlier: until its first check a server is up by assumption, and a
	// pull that comes before has nobody to notice it.
	for _, name := range []string{"a", "b"} {
		flow.Eventually(t, "HAProxy has checked "+name, func() bool {
			st := s.server(name)
			return st["status"] == "UP" && strings.HasSuffix(st["check_status"], "L7OK")
		})
	}
	return s
}

// another starts an HAProxy in front of the same nodes. It asks from the host
// that it serves on, as if it stood on a machine of its own. What it can't
// connect to is not tried again: that would hide from the clients that a node
// was gone too soon. What is only slow, on a busy machine, is no failure.
func (s *site) another(config, addr, inter string) *balancer {
	host, _, _ := net.SplitHostPort(addr)
	text := strings.NewReplacer("default-server check", "default-server source "+host+" check",
		"timeout connect 1s", "timeout connect 10s\n\ttimeout check 10s", "retries 3", "retries 0",
		"option redispatch 1", "no option redispatch").Replace(config)
	path := flow.WriteFile(s.tb, s.dir, "haproxy-"+host+".cfg", text)
	return balance(s.tb, path, addr, "NODE_A="+s.a.Addr, "NODE_B="+s.b.Addr, "INTER="+inter, "AGENT_A=9081",
		"AGENT_B=9082")
}

// command is release.sh by HAProxy's own checks, for both nodes or with what is given.
func (s *site) command(args string, env ...string) *exec.Cmd {
	cmd := exec.Command("dash", append([]string{"../release.sh"}, strings.Fields(args)...)...)
	cmd.Env = append(append(os.Environ(), "BALANCER=haproxy", "DRAIN=no", "HAPROXY="+s.stats, "NODES=a b",
		"SITE="+filepath.Join(s.dir, "nodes"), "STATE="+filepath.Join(s.dir, "release")), env...)
	return cmd
}

// release runs release.sh, and wants an exit code and words in what it says.
func (s *site) release(code int, words, args string, env ...string) string {
	s.t.Helper()
	said, got := flow.Run(s.t, s.command(args, env...))
	s.t.Logf("release.sh %s: %d\n%s", args, got, said)
	if got != code || !strings.Contains(said, words) {
		s.t.Fatalf("release.sh %s: exit code %d, want %d and %q", args, got, code, words)
	}
	return said
}

// begin runs control.sh for a node, without waiting for it.
func begin(t testing.TB, n *flow.Node, verb string) *flow.Process {
	t.Helper()
	cmd := exec.Command("dash", filepath.Join(flow.Examples(), "deploy", "control.sh"), verb)
	cmd.Env = append(append(os.Environ(), n.Env()...), "STOP_TIMEOUT=50", "PULL_TIMEOUT=50")
	return flow.Start(t, cmd)
}

// succeeds waits for its end.
func succeeds(t testing.TB, p *flow.Process) {
	t.Helper()
	<-p.Ended()
	t.Logf("%s", strings.TrimSpace(p.Output()))
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("%v: exit code %d, want 0", p.Args, code)
	}
}

// prober is the line of the ledger for who asks from a host.
func prober(st drain.Status, host string) *health.Prober {
	for i, p := range st.Probers {
		if p.Host == host {
			return &st.Probers[i]
		}
	}
	return nil
}

// known waits until a node knows how often somebody asks.
func known(t testing.TB, n *flow.Node, host string) {
	t.Helper()
	flow.Eventually(t, "the interval of "+host+" is known", func() bool {
		p := prober(n.Status(), host)
		return p != nil && p.Interval > 0
	})
}

// slack is what an HAProxy gets to act on an answer, on a machine that has no
// time for it. A stop one failing answer too soon would be a second too soon.
const slack = 500 * time.Millisecond

// outBeforeDraining asserts that a stop has taken nothing away that a balancer still wanted.
func outBeforeDraining(t testing.TB, n *flow.Node, bs ...*balancer) {
	t.Helper()
	draining := draining(t, n)
	for _, b := range bs {
		out := b.event("a", "DOWN")
		t.Logf("HAProxy at %s took the node out %v before it stopped accepting", b.Addr, draining.Sub(out))
		if draining.Before(out.Add(-slack)) {
			t.Errorf("HAProxy at %s took the node out at %v, but it stopped accepting at %v", b.Addr, out, draining)
		}
	}
}

// runs asserts which version a node runs, by itself.
func runs(t testing.TB, n *flow.Node, version string) {
	t.Helper()
	if who := n.Whoami(); who.Version != version || who.PID != n.PID() {
		t.Errorf("%s: %+v answers, want %s and pid %d", n.Addr, who, version, n.PID())
	}
}
