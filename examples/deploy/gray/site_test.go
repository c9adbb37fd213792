//go:build linux

package gray

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is HAProxy with the folder's configuration, before three nodes.
type site struct {
	t     *testing.T
	dir   string
	addr  string // of HAProxy
	names []string
	nodes map[string]*flow.Node
}

// newSite starts HAProxy and the named nodes, which are among a, b, c.
func newSite(t *testing.T, build string, names ...string) *site {
	t.Helper()
	for name, from := range map[string]string{"socat": "socat", "flock": "util-linux", "cmp": "diffutils"} {
		flow.Tool(t, name, "apt-get install "+from)
	}
	host := flow.Host()
	s := &site{t: t, dir: flow.Dir(t), addr: host + ":8080", names: names, nodes: map[string]*flow.Node{}}
	if err := os.Mkdir(filepath.Join(s.dir, "site"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	// Each turn of a node waits for five checks.
	config := flow.WriteFile(t, s.dir, "haproxy.cfg", strings.Replace(string(text), "inter 500ms", "inter 250ms", 1))
	balancer := exec.Command(flow.Tool(t, "haproxy", "apt-get install haproxy"), "-f", config)
	balancer.Env = append(os.Environ(), "SOCKET="+s.socket(), "ADDR="+s.addr, "C="+host+":8083")
	for _, name := range s.names {
		n := flow.NewNode(t, fmt.Sprintf("%s:808%d", host, 1+name[0]-'a'), build, "-pull-max", "5s")
		n.Control("start")
		s.nodes[name] = n
		flow.WriteFile(t, s.dir, "site/"+name, n.Settings())
		balancer.Env = append(balancer.Env, strings.ToUpper(name)+"="+n.Addr)
	}
	flow.Start(t, balancer).Answers(t, s.addr)
	// Until its first check HAProxy takes a server that is not there for one that is.
	for _, name := range []string{"a", "b", "c"} {
		want := "DOWN"
		if s.nodes[name] != nil {
			want = "UP"
		}
		flow.Eventually(t, name+" is "+want, func() bool { status, _ := s.stat(name); return status == want })
	}
	return s
}

func (s *site) socket() string { return filepath.Join(s.dir, "socket") }
func (s *site) state() string  { return filepath.Join(s.dir, "release") }

// command is release.sh with the site's settings.
func (s *site) command(args string, env ...string) *exec.Cmd {
	cmd := flow.Busybox(s.t, "../release.sh", strings.Fields(args)...)
	cmd.Env = append(append(cmd.Env,
		"NODES="+strings.Join(s.names, " "), "SITE="+filepath.Join(s.dir, "site"), "STATE="+s.state(),
		"BALANCER=haproxy", "HAPROXY="+s.socket(), "SITE_URL=http://"+s.addr,
	), env...)
	return cmd
}

// release runs release.sh, and wants the exit code.
func (s *site) release(want int, args string, env ...string) string {
	s.t.Helper()
	said, code := flow.Run(s.t, s.command(args, env...))
	s.t.Logf("release.sh %s: %d\n%s", args, code, said)
	if code != want {
		s.t.Fatalf("release.sh %s: exit code %d, want %d", args, code, want)
	}
	return said
}

// want asserts the version of each node, and that HAProxy gives all of them
// their whole weight, or what percent says.
func (s *site) want(percent map[string]string, versions ...string) {
	s.t.Helper()
	for i, name := range s.names {
		if who := s.nodes[name].Whoami(); who.Version != versions[i] || who.Phase != "ready" {
			s.t.Errorf("%s runs %s and is %s, want %s, ready", name, who.Version, who.Phase, versions[i])
		}
		weight := "100"
		if p := percent[name]; p != "" {
			weight = p
		}
		if status, w := s.stat(name); !strings.HasPrefix(status, "UP") || w != weight {
			s.t.Errorf("HAProxy has %s as %s with weight %s, want UP with weight %s", name, status, w, weight)
		}
	}
}

// stat is what HAProxy says of a node.
func (s *site) stat(name string) (status, weight string) {
	s.t.Helper()
	st := flow.Servers(s.t, s.socket())[name]
	return st["status"], st["weight"]
}
