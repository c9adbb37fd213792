//go:build linux

package gray

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestUpgrade releases to one node of three, with a quarter of its traffic, and
// looks at it; then to the others, and all the way back.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b", "c")
	v2 := flow.Build(t, "nethttp", "v2", "")
	load := flow.NewLoad(t, s.addr, 3, 1)

	before := time.Now()
	s.release(0, "share "+v2, "WEIGHT=25")
	s.want(map[string]string{"a": "25"}, "v2", "v1", "v1")
	load.Reaches(s.nodes["c"].PID(), 60)
	if a, b := load.By(s.nodes["a"].PID()), load.By(s.nodes["b"].PID()); a == 0 || a > b {
		t.Errorf("the share has got %d requests, another node %d, want fewer, but not none", a, b)
	}
	s.release(7, "upgrade "+v2)
	s.release(1, "status")
	gray := time.Since(before)

	before = time.Now()
	s.release(0, "continue", "GATE=sh gate.sh", "ASK=10", "VERSION=v2")
	s.want(nil, "v2", "v2", "v2")
	s.release(0, "status")
	s.release(0, "continue")
	took := gray + time.Since(before)
	load.Reaches(s.nodes["c"].PID(), 20)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d clients have lost their connection to HAProxy, want 0", n)
	}
	load.Report("Gray release", "one of three nodes, then the others", took)

	load = flow.NewLoad(t, s.addr, 3, 1)
	before = time.Now()
	s.release(0, "rollback")
	took = time.Since(before)
	s.want(nil, "v1", "v1", "v1")
	s.release(0, "rollback")
	load.Reaches(s.nodes["a"].PID(), 20)
	load.Report("Gray release", "rollback of three nodes", took)
}

// TestBrokenNode: what does not start, or is not well, goes back by itself.
func TestBrokenNode(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b", "c")
	load := flow.NewLoad(t, s.addr, 3, 1)
	crash, v2 := flow.Build(t, "nethttp", "v2", "crash"), flow.Build(t, "nethttp", "v2", "")

	before := time.Now()
	s.release(1, "upgrade "+crash)
	took := time.Since(before)
	s.want(nil, "v1", "v1", "v1")
	s.release(1, "continue") // it is still broken
	s.release(0, "rollback")
	s.want(nil, "v1", "v1", "v1")

	// CHECK asks the node itself. Here the second one does not pass.
	check := flow.WriteFile(t, s.dir, "check.sh", `
case $NODE:$(curl -s "$URL/whoami") in b:*v2*) exit 1 ;; esac
`)
	s.release(1, "upgrade "+v2, "CHECK=dash "+check)
	s.want(nil, "v2", "v1", "v1")
	s.release(0, "rollback")
	s.want(nil, "v1", "v1", "v1")
	load.Reaches(s.nodes["b"].PID(), 20)
	load.Report("Gray release", "a node that fails gets its old version back", took)
}

// TestGateFails: when the share does not do well all of it goes back. Nobody
// answers as v3.
func TestGateFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b", "c")
	v2 := flow.Build(t, "nethttp", "v2", "")
	load := flow.NewLoad(t, s.addr, 3, 1)

	before := time.Now()
	s.release(3, "upgrade "+v2, "GATE=sh gate.sh", "ASK=3", "VERSION=v3", "SHARE=2", "WEIGHT=50")
	took := time.Since(before)
	s.want(nil, "v1", "v1", "v1")
	s.release(0, "continue")
	load.Reaches(s.nodes["a"].PID(), 20)
	load.Report("Gray release", "the gate fails: two nodes go back", took)
}

// TestRefused: nothing is touched when something is not as it should be.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b", "c")
	v2 := flow.Build(t, "nethttp", "v2", "")
	pids := [3]int{s.nodes["a"].PID(), s.nodes["b"].PID(), s.nodes["c"].PID()}
	balancer := func(name, text string) string { return "BALANCER=" + flow.WriteFile(t, s.dir, name, text) }
	for _, c := range []struct {
		code      int
		args, env string
		say       string
	}{
		{2, "", "", "want upgrade FILE"},
		{2, "upgrade", "", "want upgrade FILE"},
		{2, "upgrade /no/such/file", "", "/no/such/file is not there"},
		{6, "upgrade " + v2, "NODES=a", "METHOD=swap"},
		{6, "upgrade " + v2, "NODES=a b/c", "want letters"},
		{6, "upgrade " + v2, "SHARE=0", "SHARE"},
		{6, "upgrade " + v2, "SHARE=4", "SHARE"},
		{6, "upgrade " + v2, "WEIGHT=101", "WEIGHT"},
		{6, "upgrade " + v2, "METHOD=gray", "METHOD"},
		{6, "upgrade " + v2, "METHOD=colours", "one of which is live"},
		{6, "upgrade " + v2, "GATE=nothing at all", "no such command"},
		{6, "upgrade " + v2, "GATE=sh nothing.sh", "no such script: nothing.sh"},
		{6, "upgrade " + v2, "CHECK=env A=b dash nothing.sh", "no such script: nothing.sh"},
		{6, "upgrade " + v2, "AT_NODE=dash nothing.sh", "no such script: nothing.sh"},
		{6, "upgrade " + v2, "ON=dash " + flow.WriteFile(t, s.dir, "lost.sh", "exit 255\n"), "cannot be asked"},
		{6, "upgrade " + v2, balancer("half.sh", "balancer_settings() { :; }\n"), "does not define balancer_in"},
		{6, "upgrade " + v2, balancer("broken.sh", "balancer_settings() {\n"), "no shell script"},
		{6, "upgrade " + v2, "SETTINGS=/nonexistent", "cannot be read"},
		{6, "upgrade " + v2, "BALANCER=apache", "set BALANCER"},
		{6, "upgrade " + v2, "BACKEND=app2", "knows no server app2/a"},
		{6, "upgrade " + v2, "HAPROXY=" + s.socket() + " /nonexistent", "no HAProxy answers at /nonexistent"},
		{6, "upgrade " + v2, "BALANCER=", "set BALANCER"},
		{6, "upgrade " + v2, "STATE=/proc/release", "set STATE"},
		{6, "upgrade " + v2, "SITE=/nonexistent", "set SITE"},
		{5, "upgrade " + v2, "CHECK=false", "b is not well"},
		{6, "continue", "", "no release"},
		{0, "status", "", "no release"},
	} {
		said := s.release(c.code, c.args, c.env)
		if !strings.Contains(said, c.say) {
			t.Errorf("release.sh %s with %s says %q, want %q in it", c.args, c.env, said, c.say)
		}
	}
	light := filepath.Join(s.dir, "light")
	config := flow.WriteFile(t, s.dir, "light.cfg",
		"global\n\tstats socket "+light+" level admin\ndefaults\n\tmode http\n"+
			"backend app\n\tserver a 127.0.0.1:1\n\tserver b 127.0.0.1:1\n\tserver c 127.0.0.1:1\n")
	flow.Start(t, exec.Command(flow.Tool(t, "haproxy", "apt-get install haproxy"), "-db", "-f", config))
	flow.Eventually(t, "another HAProxy is there", func() bool { _, err := os.Stat(light); return err == nil })
	if said := s.release(6, "upgrade "+v2, "HAPROXY="+light, "WEIGHT=50"); !strings.Contains(said, "weight 100") {
		t.Errorf("release.sh says %q of a weight that would be 0", said)
	}
	// Settings that are none, though a shell would go on.
	for _, line := range []string{
		"export PULL=1", "CHECK=curl -f $URL", "LOG=$(touch " + s.dir + "/run)", "LOG='/var/log", "BIN=",
		"CHEK=true", "OWN=A\nB=1",
	} {
		flow.WriteFile(t, s.dir, "site/b", s.nodes["b"].Settings()+line)
		if said := s.release(6, "upgrade "+v2); !strings.Contains(said, s.dir+"/site/b") {
			t.Errorf("a line %q: release.sh says %q, want the file's name", line, said)
		}
	}
	flow.WriteFile(t, s.dir, "site/b", s.nodes["b"].Settings())
	if _, err := os.Stat(filepath.Join(s.dir, "run")); err == nil {
		t.Error("a line of the settings was run")
	}

	// A second one at the same time.
	second := filepath.Join(s.dir, "second")
	spy := flow.WriteFile(t, s.dir, "spy.sh", `
[ "$1 $2" != "stop b" ] || dash ../release.sh continue >`+second+` 2>&1 || echo "exit code $?" >>`+second+`
exec dash ../node.sh "$@"
`)
	s.release(0, "upgrade "+v2, "AT_NODE=dash "+spy)
	if said, _ := os.ReadFile(second); !strings.Contains(string(said), "a release runs already: pid ") ||
		!strings.Contains(string(said), " since 2") ||
		!strings.Contains(string(said), "exit code 7") {
		t.Errorf("a second release.sh says %q, want exit code 7", said)
	}
	s.want(nil, "v2", "v2", "v2")
	for i, name := range s.names {
		if pid := s.nodes[name].PID(); pid == pids[i] {
			t.Errorf("%s: pid %d has not been replaced", name, pid)
		}
	}

	// Another node is down, at the beginning or later: no more may be taken out.
	v1 := flow.Build(t, "nethttp", "v1", "")
	s.release(0, "share "+v1)
	pid := s.nodes["b"].PID()
	s.nodes["c"].Control("pull")
	if said := s.release(5, "continue"); !strings.Contains(said, "mend or start c") || s.nodes["b"].PID() != pid {
		t.Error("b was touched while c was down, or it is not said what to do")
	}
	// One that is dead is no obstacle: its turn is next.
	s.nodes["c"].Control("stop")
	if said := s.release(0, "continue"); strings.Index(said, "taken c") > strings.Index(said, "taken b") {
		t.Error("want c, which is dead, before b")
	}
	s.want(nil, "v1", "v1", "v1")
	s.release(0, "rollback") // but for c, which did not run before
	s.want(nil, "v2", "v2", "v1")
}

// TestOutFirst: nodes that get no requests anyway have nothing to lose, however many
// they are, and those that do need them.
func TestOutFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b", "c")
	load := flow.NewLoad(t, s.addr, 3, 1)
	crash, v2 := flow.Build(t, "nethttp", "v2", "crash"), flow.Build(t, "nethttp", "v2", "")
	s.nodes["b"].Control("stop")
	s.nodes["b"].Deploy(crash) // which is why it was stopped
	s.nodes["c"].Control("pull")
	for _, name := range []string{"b", "c"} {
		flow.Eventually(t, name+" is DOWN", func() bool { status, _ := s.stat(name); return status == "DOWN" })
	}
	a, c := s.nodes["a"].PID(), s.nodes["c"].PID()

	// It has no version that it could go back to: that is no reason to insist on one.
	s.release(1, "upgrade "+crash)
	s.release(0, "rollback")
	if s.nodes["a"].PID() != a || s.nodes["c"].PID() != c {
		t.Error("a version that fails on b has reached another node")
	}

	before := time.Now()
	said := s.release(0, "upgrade "+v2)
	took := time.Since(before)
	taken := func(node string) int { return strings.Index(said, "taken "+node) }
	if taken("b") > taken("c") || taken("c") > taken("a") {
		t.Errorf("want b, which is dead, and c, which is pulled, before a:\n%s", said)
	}
	s.want(nil, "v2", "v2", "v2")
	load.Reaches(s.nodes["a"].PID(), 20)
	load.Report("Gray release", "of three nodes one is dead, one pulled: they come first", took)

	s.release(0, "rollback") // is nothing that makes a node worse
	s.want(nil, "v1", "v2", "v1")
}

// TestFirst: the first release is one, too, and nothing comes before it.
func TestFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, flow.Build(t, "nethttp", "v1", ""), "a", "b")
	for _, n := range s.nodes {
		n.Control("stop")
		folder := n.Path("new")
		flow.WriteFile(t, s.dir, "site/"+map[*flow.Node]string{s.nodes["a"]: "a", s.nodes["b"]: "b"}[n],
			n.Settings()+"BIN="+folder+"/app\n")
	}
	s.release(1, "upgrade "+flow.Build(t, "nethttp", "v1", "crash"))
	s.release(0, "rollback")
	s.release(0, "upgrade "+flow.Build(t, "nethttp", "v2", ""))
	s.want(nil, "v2", "v2")
	s.release(0, "rollback")
	s.want(nil, "v2", "v2")
}
