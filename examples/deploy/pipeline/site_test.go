//go:build linux

package pipeline

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// goflags are for the builds of the pipeline itself.
var goflags = os.Getenv("GOFLAGS")

// site is two environments: staging is one machine that clients reach as it
// is, production three behind HAProxy.
type site struct {
	t                   testing.TB
	dir                 string
	staging, production []*flow.Node
	url                 string // of production
}

// newSite has v1 running in the environments, with the settings of env/*.env.
func newSite(t testing.TB, envs ...string) *site {
	t.Helper()
	flow.Tool(t, "flock", "apt-get install util-linux")
	s := &site{t: t, dir: flow.Dir(t)}
	v1 := flow.Build(t, "nethttp", "v1", "")
	for _, env := range envs {
		switch env {
		case "staging":
			s.staging = s.machines(env, v1, "a")
			s.settings(env)
			s.begin(env, v1, "a")
		case "production":
			s.production = s.machines(env, v1, "a", "b", "c")
			s.haproxy()
			s.settings(env)
			s.begin(env, v1, "a", "b", "c")
			s.allUp()
		}
	}
	return s
}

func (s *site) haproxy() {
	s.t.Helper()
	flow.Tool(s.t, "socat", "apt-get install socat")
	haproxy := flow.Tool(s.t, "haproxy", "apt-get install haproxy")
	addr := flow.Host() + ":80"
	s.url = "http://" + addr
	cmd := exec.Command(haproxy, "-db", "-f", filepath.Join(flow.Examples(), "deploy", "gray", "haproxy.cfg"))
	cmd.Env = append(os.Environ(), "SOCKET="+s.path("haproxy.sock"), "ADDR="+addr)
	for i, n := range s.production {
		cmd.Env = append(cmd.Env, string(rune('A'+i))+"="+n.Addr)
	}
	flow.Start(s.t, cmd).Answers(s.t, addr)
}

// allUp waits until HAProxy has seen that the nodes are there, which it was before.
func (s *site) allUp() {
	s.t.Helper()
	flow.Eventually(s.t, "HAProxy says that a, b and c are UP", func() bool {
		servers := flow.Servers(s.t, s.path("haproxy.sock"))
		return servers["a"]["status"] == "UP" && servers["b"]["status"] == "UP" && servers["c"]["status"] == "UP"
	})
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// machines are told by the environment where to listen.
func (s *site) machines(env, build string, names ...string) (nodes []*flow.Node) {
	for _, name := range names {
		n := flow.NewNode(s.t, flow.Host()+":8080", build)
		nodes = append(nodes, n)
		if err := os.MkdirAll(s.path(env+".site"), 0o755); err != nil {
			s.t.Fatal(err)
		}
		lines := fmt.Sprintf("BIN=%s\nPIDFILE=%s\nLOG=%s\nCONTROL=%s\nURL=http://%s\nAPP_ADDR=%s\nAPP_CONTROL=%s\n",
			n.Path("app"), n.Path("pid"), n.Path("log"), n.Path("control"), n.Addr, n.Addr, n.Path("control"))
		flow.WriteFile(s.t, s.path(env+".site"), name, lines)
	}
	return nodes
}

// settings writes the environment's file: the example's, with the test's own
// places, and more.
func (s *site) settings(env string, more ...string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(folder(), "env", env+".env"))
	if err != nil {
		s.t.Fatal(err)
	}
	url := s.url
	if env == "staging" {
		url = "http://" + s.staging[0].Addr
	}
	more = append([]string{
		string(text), "SITE=" + s.path(env+".site"), "STATE=" + s.path(env+".state"),
		"SITE_URL=" + url, "HAPROXY=" + s.path("haproxy.sock"),
	}, more...)
	if err := os.MkdirAll(s.path("env"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	flow.WriteFile(s.t, s.path("env"), env+".env", strings.Join(more, "\n")+"\n")
}

// begin is what somebody has done by hand before there was a pipeline.
func (s *site) begin(env, build string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		for _, verb := range []string{"put", "start"} {
			cmd := exec.Command("dash", filepath.Join(flow.Examples(), "deploy", "node.sh"), verb, name)
			cmd.Env = append(os.Environ(),
				"SITE="+s.path(env+".site"), "SETTINGS="+filepath.Join(s.path("env"), env+".env"))
			binary, err := os.Open(build)
			if err != nil {
				s.t.Fatal(err)
			}
			defer binary.Close()
			cmd.Stdin = binary
			if said, code := flow.Run(s.t, cmd); code != 0 {
				s.t.Fatalf("node.sh %v: %d, %s", verb, code, said)
			}
		}
	}
}

// step returns a step as the tool would run it.
func (s *site) step(line string, env ...string) *exec.Cmd {
	cmd := exec.Command("dash", "-e", "-c", line)
	cmd.Dir = folder()
	cmd.Env = append(append(os.Environ(), "DIST="+s.path("dist"), "ENVS="+s.path("env"), "GOFLAGS="+goflags,
		"ASK=20"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // for the test that kills it
	return cmd
}

// run runs steps until one fails, and returns that one's line and exit code.
func (s *site) run(steps []string, env ...string) (red string, code int) {
	s.t.Helper()
	for _, line := range steps {
		said, code := flow.Run(s.t, s.step(line, env...))
		s.t.Logf("$ %s\n%s(%d)", line, said, code)
		if code != 0 {
			return line, code
		}
	}
	return "", 0
}

// built is what build.sh would have left.
func (s *site) built(version, fault string) {
	s.t.Helper()
	binary, err := os.ReadFile(flow.Build(s.t, "nethttp", version, fault))
	if err == nil {
		err = os.MkdirAll(s.path("dist"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(s.path("dist/app"), binary, 0o755)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	flow.WriteFile(s.t, s.path("dist"), "version", version+"\n")
}

func (s *site) want(nodes []*flow.Node, version string) {
	s.t.Helper()
	for _, n := range nodes {
		if who := n.Whoami(); who.Version != version || who.Phase != "ready" {
			s.t.Errorf("%s: %s, %s, want version %s, ready", n.Addr, who.Version, who.Phase, version)
		}
	}
}

// environ returns what the running process of a node has been told.
func environ(t testing.TB, n *flow.Node) (settings []string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\x00") {
		if strings.HasPrefix(line, "APP_") && !strings.HasPrefix(line, "APP_ADDR=") &&
			!strings.HasPrefix(line, "APP_CONTROL=") {
			settings = append(settings, line)
		}
	}
	slices.Sort(settings)
	return settings
}
