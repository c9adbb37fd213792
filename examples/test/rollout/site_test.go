//go:build linux

// Package rollout asks of release.sh what holds with every balancer: what it says and how it exits is what runs. Two
// nodes without a balancer do for that, since METHOD=swap needs none.
package rollout

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

var deploy = filepath.Join(flow.Examples(), "deploy")

// site is nodes of which nothing runs yet. Its folders have blanks in their names.
type site struct {
	t     *testing.T
	dir   string
	names string
	nodes []*flow.Node
	light bool // under busybox's shell
}

// newSite has nodes a and b, or a alone, where another one would be the same once more.
func newSite(t *testing.T, names string, flags ...string) *site {
	t.Helper()
	t.Parallel()
	for name, from := range map[string]string{"flock": "util-linux", "cmp": "diffutils"} {
		flow.Tool(t, name, "apt-get install "+from)
	}
	s := &site{t: t, dir: filepath.Join(flow.Dir(t), "a site"), names: names}
	for _, name := range strings.Fields(names) {
		n := flow.NewNode(t, flow.Host()+":8080", build(t, "v1", ""),
			append([]string{"-pull-max", "1s", "-probation", "100ms"}, flags...)...)
		s.nodes = append(s.nodes, n)
		if err := os.MkdirAll(filepath.Join(s.dir, "nodes"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.set(name, n.Settings()+"BIN='"+s.bin(n)+"'\n")
	}
	return s
}

func build(t testing.TB, version, fault string) string {
	return flow.Build(t, "nethttp", version, fault)
}

// set writes the settings of a node.
func (s *site) set(name, text string) { flow.WriteFile(s.t, filepath.Join(s.dir, "nodes"), name, text) }

func (s *site) bin(n *flow.Node) string { return n.Path("the app/app") }

func (s *site) command(args []string, env ...string) *exec.Cmd {
	script := filepath.Join(deploy, "release.sh")
	cmd := exec.Command("dash", append([]string{script}, args...)...)
	cmd.Env = os.Environ()
	if s.light {
		cmd = flow.Busybox(s.t, script, args...)
	}
	cmd.Env = append(append(cmd.Env, "NODES="+s.names, "METHOD=swap", "SITE="+filepath.Join(s.dir, "nodes"),
		"STATE="+filepath.Join(s.dir, "release")), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // for signals as those of a terminal
	return cmd
}

// release runs release.sh, and wants an exit code and words.
func (s *site) release(code int, words, verb, file string, env ...string) string {
	s.t.Helper()
	args := strings.Fields(verb)
	if file != "" {
		args = append(args, file)
	}
	said, got := flow.Run(s.t, s.command(args, env...))
	s.t.Logf("release.sh %s %s: %d\n%s", verb, file, got, said)
	if got != code || !strings.Contains(said, words) {
		s.t.Fatalf("release.sh %s %s: exit code %d, want %d and %q", verb, file, got, code, words)
	}
	return said
}

// start has the nodes run a version as the release that TestTwice begins with leaves it.
func (s *site) start(version string) {
	s.t.Helper()
	for _, n := range s.nodes {
		folder := s.bin(n) + ".releases"
		if err := os.MkdirAll(folder+"/1", 0o755); err != nil {
			s.t.Fatal(err)
		}
		flow.Deploy(s.t, build(s.t, version, ""), folder+"/1/app")
		for name, text := range map[string]string{"live": "1\n", "1/env": "", "1/id": "the first\n"} {
			flow.WriteFile(s.t, folder, name, text)
		}
		if err := os.Symlink("app.releases/1/app", s.bin(n)); err != nil {
			s.t.Fatal(err)
		}
		n.Control("start", "BIN="+s.bin(n))
	}
}

// runs wants the versions at the nodes; "" is nothing. It returns their pids.
func (s *site) runs(versions ...string) string {
	s.t.Helper()
	pids := ""
	for i, n := range s.nodes {
		got, pid := "", n.PID()
		if pid != 0 && flow.Alive(pid) {
			who := n.Whoami()
			got = who.Version
			if who.PID != pid || who.Phase != "ready" {
				s.t.Errorf("%s answers %+v, and its PID file says %d", n.Addr, who, pid)
			}
		}
		if got != versions[i] {
			s.t.Fatalf("node %d runs %q, want %q", i, got, versions[i])
		}
		pids += fmt.Sprint(pid, " ")
	}
	return pids
}
