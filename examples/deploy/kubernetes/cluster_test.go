//go:build linux

package kubernetes

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
	corev1 "k8s.io/api/core/v1"
)

// cluster is what cluster.sh runs: a control plane and two nodes.
type cluster struct {
	t     testing.TB
	dir   string
	first string // the pid of its first process
	nodes []*flow.Namespace
	*history
}

func folder(name string) string { return filepath.Join(flow.Examples(), "deploy", "kubernetes", name) }

// newCluster starts one, until the end of the test.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	flow.Root(t)
	c := &cluster{t: t, dir: flow.Dir(t)}
	cmd := exec.Command(folder("cluster.sh"), "run", c.dir)
	var errors strings.Builder
	cmd.Stderr = &errors
	// It closes when this process ends, however that happens, and the cluster goes with it.
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.tell()
		}
		_ = alive.Close()
		_ = cmd.Wait()
	})
	hangs := time.AfterFunc(3*flow.Patience, func() { _ = alive.Close() })
	defer hangs.Stop()
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "ready\n" {
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() == 77 {
			flow.Missing(t, "a cluster", errors.String())
		}
		t.Fatalf("cluster.sh: %q, %v, %v\n%s", said, err, cmd.ProcessState, errors.String())
	}
	first, err := os.ReadFile(filepath.Join(c.dir, "first"))
	if err != nil {
		t.Fatal(err)
	}
	c.first = strings.TrimSpace(string(first))
	for _, node := range []string{"node1", "node2"} {
		c.nodes = append(c.nodes, flow.OpenNamespace(t, "/proc/"+c.first+"/root/run/netns/"+node))
	}
	return c
}

// tell shows what the cluster has to say of a failure.
func (c *cluster) tell() {
	if c.first != "" {
		said, _ := c.try(nil, "sh", "-c", "kubectl get pods -o wide; kubectl get events | tail -n 30; "+
			"for p in $(kubectl get pods -o name); do kubectl logs --tail 15 $p; done")
		c.t.Log(said)
	}
	logs, _ := filepath.Glob(filepath.Join(c.dir, "*.log"))
	said, _ := flow.Run(c.t, exec.Command("tail", append([]string{"-n", "5"}, logs...)...))
	c.t.Log(said)
}

// image puts a build of a service on both nodes.
func (c *cluster) image(name, service, version, fault string) {
	c.t.Helper()
	if said, code := flow.Run(c.t, exec.Command(folder("cluster.sh"), "image", c.dir, name,
		flow.Static(c.t, service, version, fault))); code != 0 {
		c.t.Fatalf("cluster.sh image %s: exit code %d\n%s", name, code, said)
	}
}

// command is one that runs in the network of the control plane, at the root of a clone.
func (c *cluster) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", c.first, "-n", "--"}, args...)...)
	cmd.Dir = filepath.Join(flow.Examples(), "..")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(c.dir, "kubeconfig"))
	return cmd
}

func (c *cluster) try(stdin io.Reader, args ...string) (string, int) {
	c.t.Helper()
	cmd := c.command(args...)
	cmd.Stdin = stdin
	return flow.Run(c.t, cmd)
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	said, code := c.try(nil, append([]string{"kubectl"}, args...)...)
	if code != 0 {
		c.t.Fatalf("kubectl %s: exit code %d\n%s", strings.Join(args, " "), code, said)
	}
	return said
}

// apply makes an object.
func (c *cluster) apply(object any) {
	c.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		c.t.Fatal(err)
	}
	if said, code := c.try(strings.NewReader(string(text)), "kubectl", "apply", "-f", "-"); code != 0 {
		c.t.Fatalf("kubectl apply: exit code %d\n%s", code, said)
	}
}

// follow runs the README's commands behind a marker, letter by letter but for what an operator replaces, and wants an
// exit code.
func (c *cluster) follow(marker string, want int, replace ...string) {
	c.t.Helper()
	block := strings.NewReplacer(replace...).Replace(marked(c.t, marker))
	said, code := c.try(nil, "bash", "-ec", block)
	c.t.Logf("README.md, %s: exit code %d\n%s\n%s", marker, code, block, said)
	if code != want {
		c.t.Fatalf("README.md, %s: exit code %d, want %d", marker, code, want)
	}
}

// on runs a command on a node.
func (c *cluster) on(node string, args ...string) string {
	c.t.Helper()
	said, code := flow.Run(c.t, exec.Command(folder("cluster.sh"), append([]string{"in", c.dir, node}, args...)...))
	if code != 0 {
		c.t.Fatalf("%s: %v: exit code %d\n%s", node, args, code, said)
	}
	return said
}

// stop has a part of the cluster stand still, until the end of the test or until it is told to go on. It is as late
// then as one on a machine that is very busy.
func (c *cluster) stop(part string) (goOn func()) {
	c.t.Helper()
	pid, err := os.ReadFile(filepath.Join(c.dir, part+".pid"))
	if err != nil {
		c.t.Fatal(err)
	}
	signal := func(sig string) { c.on("control", "kill", "-"+sig, strings.TrimSpace(string(pid))) }
	signal("STOP")
	c.t.Cleanup(func() { signal("CONT") })
	return func() { signal("CONT") }
}

// load is clients on a node, or on both if node is 0, which never retry.
func (c *cluster) load(service string, node, keep, fresh int) *flow.Load {
	c.t.Helper()
	from, names := c.nodes, []string{"node1", "node2"}
	if node > 0 {
		from, names = from[node-1:node], names[node-1:node]
	}
	ip := c.kubectl("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
	addr := net.JoinHostPort(ip, "80")
	for _, node := range names {
		flow.Eventually(c.t, "kube-proxy of "+node+" knows "+service, func() bool {
			_, code := flow.Run(c.t, exec.Command(folder("cluster.sh"), "in", c.dir, node, "sh", "-c", flow.Routes(ip)))
			return code == 0
		})
	}
	dial := func() (conn net.Conn, err error) {
		err = from[rand.N(len(from))].In(func() error {
			conn, err = net.DialTimeout("tcp4", addr, 10*time.Second)
			return err
		})
		return conn, err
	}
	return flow.NewLoadBy(c.t, dial, service, keep, fresh)
}

// whoami asks a pod, on a connection of its own.
func (c *cluster) whoami(pod corev1.Pod) (flow.Identity, error) {
	node, _ := strconv.Atoi(strings.TrimPrefix(pod.Spec.NodeName, "node"))
	conn, err := c.nodes[node-1].Dial(pod.Status.PodIP + ":8080")
	if err != nil {
		return flow.Identity{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(flow.Patience))
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	res, err := client.Get("http://" + pod.Status.PodIP + "/whoami")
	if err != nil {
		return flow.Identity{}, err
	}
	defer res.Body.Close()
	var who flow.Identity
	return who, json.NewDecoder(res.Body).Decode(&who)
}

// runs waits until all pods of an app are ready, and of a version.
func (c *cluster) runs(app, version string, pods int) {
	c.t.Helper()
	flow.Eventually(c.t, fmt.Sprintf("%s: %d pods of %s", app, pods, version), func() bool {
		found := c.of(app)
		if len(found) != pods || c.ready(app) != pods {
			return false
		}
		for _, pod := range found {
			if who, err := c.whoami(pod); err != nil || who.Version != version {
				return false
			}
		}
		return true
	})
}
