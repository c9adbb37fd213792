//go:build linux

package keepalived

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

const (
	addr = "10.77.0.100:8080" // as in keepalived.conf
	name = "keepalived"       // of the flow
)

func TestMain(m *testing.M) { flow.Main(m) }

var sites atomic.Int32

// site is two nodes and a client, as net.sh makes them.
type site struct {
	t      *testing.T
	net    string // begins the names of its namespaces
	client *flow.Namespace
	nodes  map[string]*node
}

type node struct {
	*flow.Node
	t      *testing.T
	name   string
	daemon *flow.Process // keepalived
}

// newSite waits until one node has the address, and the other could take it.
func newSite(t *testing.T, stay bool) *site {
	t.Helper()
	t.Parallel()
	flow.Root(t)
	for tool, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables", "keepalived": "keepalived",
		"sysctl": "procps"} {
		flow.Tool(t, tool, "apt-get install "+pkg)
	}
	s := &site{t: t, net: fmt.Sprintf("ka%d-%d", os.Getpid(), sites.Add(1)), nodes: map[string]*node{}}
	s.client = flow.Network(t, script("net.sh"), s.net)

	build := flow.Build(t, "nethttp", "v1", "")
	for name, peer := range map[string]string{"a": "10.77.0.2", "b": "10.77.0.1"} {
		n := &node{flow.NewNode(t, "0.0.0.0:8080", build), t, name, nil}
		n.Prefix = []string{"ip", "netns", "exec", s.net + "-" + name}
		s.nodes[name] = n
		if stay {
			n.Run("env", "PEER="+peer, "dash", script("stay.sh"), "up")
		}
		n.Control("start")
		n.keepalived()
	}
	s.settled()
	return s
}

func script(name string) string { return filepath.Join(flow.Examples(), "deploy", "keepalived", name) }

// release runs release.sh for both nodes.
func (s *site) release(want int, args string) string {
	s.t.Helper()
	nodes := map[string]*flow.Node{}
	for name, n := range s.nodes {
		nodes[name] = n.Node
	}
	return flow.Release(s.t, nodes, want, args, "FILE=state")
}

func (n *node) keepalived() {
	n.t.Helper()
	conf, err := os.ReadFile(script("keepalived.conf"))
	if err != nil {
		n.t.Fatal(err)
	}
	// A master that has no time for the 1.8 s of the example's setting would be taken for a dead one.
	text := strings.Replace(string(conf), "advert_int 0.5", "advert_int 1", 1)
	args := append(n.Prefix[:len(n.Prefix):len(n.Prefix)], "keepalived", "-n", "-l", "-P", "-i", n.name,
		"-f", flow.WriteFile(n.t, n.Dir, "keepalived.conf", text),
		"-p", n.Path("keepalived.pid"), "-r", n.Path("vrrp.pid"))
	n.daemon = flow.Start(n.t, exec.Command(args[0], args[1:]...))
	n.t.Cleanup(func() { // it has a child that a SIGKILL would leave behind
		_ = n.daemon.Process.Signal(syscall.SIGTERM)
		<-n.daemon.Ended()
	})
}

// state is what keepalived has written last.
func (n *node) state() string {
	b, _ := os.ReadFile(n.Path("state"))
	return strings.TrimSpace(string(b))
}

// has tells whether the address is where ARP finds it.
func (n *node) has() bool {
	n.t.Helper()
	return strings.Contains(n.Run("ip", "address", "show", "dev", "eth0"), strings.TrimSuffix(addr, ":8080")+"/32")
}

// settled waits until one node is master and the other ready to be, and returns them.
func (s *site) settled() (master, backup *node) {
	s.t.Helper()
	a, b := s.nodes["a"], s.nodes["b"]
	flow.Eventually(s.t, "one has the address, the other is ready", func() bool {
		master, backup = a, b
		if b.state() == "MASTER" {
			master, backup = b, a
		}
		return master.state() == "MASTER" && backup.state() == "BACKUP" && master.has() && !backup.has()
	})
	return master, backup
}

func (s *site) dial() (net.Conn, error) { return s.client.Dial(addr) }

func (s *site) load(keep, fresh int) *flow.Load {
	s.t.Helper()
	return flow.NewLoadBy(s.t, s.dial, addr, keep, fresh)
}
