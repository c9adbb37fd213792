//go:build linux

package lvs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

const (
	addr = "10.78.0.100:8080"         // as in net.sh and checker.sh
	name = "checker.sh with nftables" // of the flow
)

func TestMain(m *testing.M) { flow.Main(m) }

var sites atomic.Int32

// site is a director, two nodes and a client, as net.sh makes them.
type site struct {
	t       *testing.T
	net     string // begins the names of its namespaces
	client  *flow.Namespace
	a, b    *flow.Node
	run     string // the checker's folder
	checker *flow.Process
	env     []string // the checker's
}

func newSite(t *testing.T, heartbeat bool, env ...string) *site {
	t.Helper()
	t.Parallel()
	flow.Root(t)
	for tool, pkg := range map[string]string{
		"ip": "iproute2", "nft": "nftables", "socat": "socat", "sysctl": "procps",
	} {
		flow.Tool(t, tool, "apt-get install "+pkg)
	}
	s := &site{t: t, net: fmt.Sprintf("lv%d-%d", os.Getpid(), sites.Add(1)), run: flow.Dir(t)}
	s.env = append(env, "RUN="+s.run, "NET="+s.net)
	s.client = flow.Network(t, script("net.sh"), s.net, s.env...)
	s.a, s.b = s.node("a", "10.78.1.1", heartbeat), s.node("b", "10.78.1.2", heartbeat)
	s.check()
	flow.Eventually(t, "both nodes are up", func() bool { return s.state(s.a) == "UP" && s.state(s.b) == "UP" })
	return s
}

func (s *site) node(name, ip string, heartbeat bool) *flow.Node {
	s.t.Helper()
	var flags []string
	if heartbeat {
		flags = []string{"-heartbeat", ip + ":8081"}
	}
	n := flow.NewNode(s.t, ip+":8080", flow.Build(s.t, "nethttp", "v1", ""), flags...)
	n.Prefix = []string{"ip", "netns", "exec", s.net + "-" + name}
	n.Control("start")
	return n
}

func script(name string) string { return filepath.Join(flow.Examples(), "deploy", "lvs", name) }

// check starts the checker.
func (s *site) check() {
	s.t.Helper()
	busybox := flow.Tool(s.t, "busybox", "apt-get install busybox")
	cmd := exec.Command("ip", "netns", "exec", s.net+"-director", busybox, "sh", script("checker.sh"), "run")
	cmd.Env = append(os.Environ(), s.env...)
	s.checker = flow.Start(s.t, cmd)
}

// state is what the checker thinks of a node.
func (s *site) state(n *flow.Node) string {
	b, _ := os.ReadFile(filepath.Join(s.run, ip(n)+".state"))
	return strings.TrimSpace(string(b))
}

func ip(n *flow.Node) string { return strings.TrimSuffix(n.Addr, ":8080") }

// release runs release.sh for both nodes.
func (s *site) release(want int, args string) string {
	s.t.Helper()
	return flow.Release(s.t, map[string]*flow.Node{ip(s.a): s.a, ip(s.b): s.b}, want, args,
		"RUN="+s.run, "NODE_STATE=busybox sh "+script("checker.sh")+" state")
}

func (s *site) load(keep, fresh int) *flow.Load {
	s.t.Helper()
	return flow.NewLoadBy(s.t, func() (net.Conn, error) { return s.client.Dial(addr) }, addr, keep, fresh)
}
