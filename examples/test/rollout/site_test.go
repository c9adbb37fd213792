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

// site is nodes a and b, of which nothing runs yet. Its folders have blanks in their names.
type site struct {
	t     *testing.T
	dir   string
	nodes []*flow.Node
	light bool // under busybox's shell
}

func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	t.Parallel()
	for name, from := range map[string]string{"flock": "util-linux", "cmp": "diffutils"} {
		flow.Tool(t, name, "apt-get install "+from)
	}
	s := &site{t: t, dir: filepath.Join(flow.Dir(t), "a site")}
	for _, name := range []string{"a", "b"} {
		n := flow.NewNode(t, flow.Host()+":8080", build(t, "v0", ""),
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
	cmd.Env = append(append(cmd.Env, "NODES=a b", "METHOD=swap", "SITE="+filepath.Join(s.dir, "nodes"),
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

// runs wants the versions at a and b; "" is nothing. It returns their pids.
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
