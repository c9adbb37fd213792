//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// site is two nodes, an agent, and a HAProxy that knows them by Consul only.
type site struct {
	t     *testing.T
	host  string
	dir   string
	agent *flow.Process
	nodes [2]*flow.Node
}

func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	s := &site{t: t, host: flow.Host(), dir: flow.Dir(t)}
	s.startAgent()
	flags = append([]string{"-check-interval", "1s", "-probation", "200ms"}, flags...)
	for i, port := range []string{":8081", ":8082"} {
		s.nodes[i] = flow.NewNode(t, s.host+port, flow.Build(t, "deploy/consul", "v1", ""), flags...)
		s.control(i, "start")
	}
	cmd := exec.Command(flow.Tool(t, "haproxy", "apt-get install haproxy"), "-f", "haproxy.cfg", "-db")
	cmd.Env = append(os.Environ(), "FRONT="+s.front(), "CONSUL_DNS="+s.host+":8600", "SERVICE=web", "STATS="+s.stats())
	flow.Start(t, cmd).Answers(t, s.front())
	s.wantUp(s.nodes[0], s.nodes[1])
	return s
}

func (s *site) front() string { return s.host + ":8000" }
func (s *site) stats() string { return filepath.Join(s.dir, "stats") }

// startAgent starts a server that keeps its data, and waits for its leader: itself.
func (s *site) startAgent() {
	s.t.Helper()
	cmd := exec.Command(flow.Tool(s.t, "consul", "run .ci/get-consul DIR and put DIR on the PATH"), "agent",
		"-server", "-bootstrap-expect=1",
		"-data-dir", filepath.Join(s.dir, "data"), "-bind", s.host, "-client", s.host,
		"-node", "test", "-log-level", "warn",
		"-hcl", `performance { raft_multiplier = 1 } leave_on_terminate = false disable_update_check = true`)
	s.agent = flow.Start(s.t, cmd)
	s.agent.Answers(s.t, s.host+":8500")
	flow.Eventually(s.t, "Consul has a leader", func() bool {
		var leader string
		return s.get("/v1/status/leader", &leader) && leader != ""
	})
}

// control is control.sh for a node that knows where its agent is.
func (s *site) control(node int, verb string) string {
	s.t.Helper()
	return s.nodes[node].Control(verb, "CONSUL_HTTP_ADDR="+s.host+":8500")
}

// get asks the agent, and reports whether it has answered.
func (s *site) get(path string, into any) bool {
	res, err := http.Get("http://" + s.host + ":8500" + path)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == http.StatusOK && json.Unmarshal(body, into) == nil
}

// entries is the catalog: the state of each id, and when it was first and last written.
type state struct {
	status           string // the worst of its checks, "maintenance" among them
	created, written int
}

func (s *site) entries() map[string]state {
	s.t.Helper()
	var all []struct {
		Service struct {
			ID                       string
			CreateIndex, ModifyIndex int
		}
		Checks []struct{ CheckID, Status string }
	}
	if !s.get("/v1/health/service/web", &all) {
		s.t.Fatal("Consul does not answer")
	}
	found := map[string]state{}
	for _, e := range all {
		st := state{"passing", e.Service.CreateIndex, e.Service.ModifyIndex}
		for _, c := range e.Checks {
			if st.status != "maintenance" && c.Status != "passing" {
				st.status = c.Status
			}
			if strings.HasPrefix(c.CheckID, "_service_maintenance:") {
				st.status = "maintenance"
			}
		}
		found[e.Service.ID] = st
	}
	return found
}

func (s *site) id(node int) string {
	host, port, _ := net.SplitHostPort(s.nodes[node].Addr)
	return "web-" + host + "-" + port
}

// wantEntry waits until the catalog says that of the node; "" is that it has no entry.
func (s *site) wantEntry(node int, status string) {
	s.t.Helper()
	flow.Eventually(s.t, s.id(node)+" is "+status+" in the catalog",
		func() bool { return s.entries()[s.id(node)].status == status })
}

// wantUp waits until HAProxy would send requests to these nodes, and no others.
func (s *site) wantUp(nodes ...*flow.Node) {
	s.t.Helper()
	flow.Eventually(s.t, "HAProxy sends requests to the right nodes", func() bool {
		up := 0
		for _, server := range flow.Servers(s.t, s.stats()) {
			if server["status"] != "UP" {
				continue
			}
			if !slices.ContainsFunc(nodes, func(n *flow.Node) bool { return n.Addr == server["addr"] }) {
				return false
			}
			up++
		}
		return up == len(nodes)
	})
}
