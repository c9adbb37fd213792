//go:build linux

package kubernetes

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
	corev1 "k8s.io/api/core/v1"
)

const image = "registry.example.com/app:"

// TestKubernetes does to a Deployment what is done to one, while clients POST.
func TestKubernetes(t *testing.T) {
	c := newCluster(t)
	c.image(image+"v1", "nethttp", "v1", "")
	c.image(image+"v2", "nethttp", "v2", "")
	c.image(image+"v3", "internal/faulty", "v3", "hang")
	c.watch()
	c.follow("first", 0)
	c.runs("app", "v1", 3)
	c.volumes()
	var halted corev1.Pod

	all := c.load("app", 0, 8, 0) // over all of it
	begun := time.Now()
	for _, step := range []struct {
		operation string
		do        func()
	}{
		{"rolling update of 3 pods", func() { c.follow("update", 0); c.runs("app", "v2", 3) }},
		{"rollback of 3 pods", func() { c.follow("undo", 0); c.runs("app", "v1", 3) }},
		{"a pod deleted", c.deletes},
		{"a node drained, of two", c.drains}, // "halted" comes after it: its grace is too short for a stop in order
		{"an image that never gets ready, and the way back", func() { halted = c.halts(); c.neverReady() }},
		{"a pod deleted, one machine's kube-proxy 12 s late", c.lateEndpoints},
		{"a pod deleted, its kubelet asks no more, as in 1.22 to 1.24.1", c.deafKubelet},
	} {
		load := c.load("app", 0, 4, 4)
		begun := time.Now()
		step.do()
		took := time.Since(begun)
		load.Flows(20)
		load.Report("Kubernetes", step.operation, took)
	}
	load := c.load("in-place", 0, 4, 4)
	took := c.swaps()
	load.Flows(20)
	load.Report("Kubernetes", "two pods swapped in place", took)
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d connections were closed in swaps, want 0", n)
	}

	all.Report("Kubernetes", "all of this, clients that keep their connections", time.Since(begun))
	c.restarts(halted)
	for pod, code := range c.exits {
		if code > 1 && pod != halted.Name {
			t.Errorf("%s: exit code %d", pod, code)
		}
	}
}

// deletes one pod, and looks at what the endpoint and the probes really do.
func (c *cluster) deletes() {
	c.t.Helper()
	pod := c.of("app")[0].Name
	log := make(chan string, 1)
	go func() {
		said, _ := c.try(nil, "kubectl", "logs", "-f", pod)
		log <- said
	}()
	c.kubectl("delete", "pod", pod)
	c.exited(pod, 0)
	c.runs("app", "v1", 3)
	if said := <-log; !strings.Contains(said, "kind=pull-noticed") {
		c.t.Errorf("%s is asked for its readiness no more:\n%s", pod, said)
	}
	// It leaves the Service at once, and goes when it has ended. In between it may be seen not to serve, or may have
	// ended before that is told.
	want := []string{"ready, serving", "serving, terminating", "gone"}
	flow.Eventually(c.t, pod+" has no endpoint", func() bool { // it is seen by another watch than its end
		seen := c.endpoint(pod)
		return len(seen) > 0 && seen[len(seen)-1] == "gone"
	})
	got := slices.DeleteFunc(c.endpoint(pod), func(is string) bool { return is == "terminating" })
	if !slices.Equal(got[max(0, len(got)-len(want)):], want) {
		c.t.Errorf("%s: its endpoint was %q, want it to end with %q", pod, got, want)
	}
}

// drains the node that has the most pods, under the disruption budget.
func (c *cluster) drains() {
	c.t.Helper()
	on := map[string]int{}
	for _, pod := range c.of("app") {
		on[pod.Spec.NodeName]++
	}
	node := "node1"
	if on["node2"] > on["node1"] {
		node = "node2"
	}
	if on[node] < 2 {
		c.t.Fatalf("pods by nodes: %v, want two on one", on)
	}
	c.least("app")
	c.follow("drain", 0, "node1", node)
	c.runs("app", "v1", 3)
	if n := c.least("app"); n < 2 {
		c.t.Errorf("while %s was drained, %d pods were ready, want 2: the disruption budget", node, n)
	}
	for _, pod := range c.of("app") {
		if pod.Spec.NodeName == node {
			c.t.Errorf("%s is on %s, which was drained", pod.Name, node)
		}
	}
}

// neverReady rolls out what hangs: the first pod of it stays the only one.
func (c *cluster) neverReady() {
	c.t.Helper()
	deadline := func(seconds int) {
		c.t.Helper()
		c.kubectl("patch", "deployment", "app", "-p", fmt.Sprintf(`{"spec": {"progressDeadlineSeconds": %d}}`, seconds))
	}
	deadline(10) // for a test is long enough
	before := c.of("app")
	c.follow("update", 1, image+"v2", image+"v3")
	for _, pod := range before {
		if !slices.ContainsFunc(c.of("app"), func(p corev1.Pod) bool { return p.Name == pod.Name }) {
			c.t.Errorf("%s has gone, for an image that never got ready", pod.Name)
		}
	}
	deadline(120)
	c.follow("undo", 0)
	c.runs("app", "v1", 3)
}

// halts has the service of a pod stand still. No load is there: what such a process has in hand is lost, whatever
// restarts it.
func (c *cluster) halts() (pod corev1.Pod) {
	c.t.Helper()
	c.variant("halted", 1, 5, "APP_PULL_MIN", "0")
	pod = c.of("halted")[0]
	processes := strings.Split(strings.TrimSpace(
		c.on(pod.Spec.NodeName, "ctr", "-n", "k8s.io", "tasks", "ps", container(pod))), "\n")
	if len(processes) != 3 { // a head, the keeper, the service
		c.t.Fatalf("%s has the processes %q", pod.Name, processes)
	}
	c.on(pod.Spec.NodeName, "kill", "-STOP", strings.Fields(processes[2])[0])
	return pod
}

// restarts: the readiness probe takes the pod out of the Service. The liveness probe has the kubelet start it again.
func (c *cluster) restarts(pod corev1.Pod) {
	c.t.Helper()
	flow.Eventually(c.t, pod.Name+" is started again", func() bool {
		pods := c.of("halted")
		return len(pods) == 1 && pods[0].Name == pod.Name && pods[0].Status.ContainerStatuses[0].RestartCount == 1
	})
	c.runs("halted", "v1", 1)
	last := c.of("halted")[0].Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 128+int32(syscall.SIGKILL) {
		c.t.Errorf("%s has ended otherwise than by KILL: %+v", pod.Name, last)
	}
	said := c.kubectl("get", "events", "--field-selector", "involvedObject.name="+pod.Name)
	if !strings.Contains(said, "Liveness probe failed") {
		c.t.Errorf("its liveness probe has not restarted %s:\n%s", pod.Name, said)
	}
	flow.Eventually(c.t, pod.Name+" was out of the Service, and is back", func() bool {
		seen := c.endpoint(pod.Name)
		return slices.Contains(seen, "") && seen[len(seen)-1] == "ready, serving"
	})
}

// container is the name by which containerd knows the one of a pod.
func container(pod corev1.Pod) string {
	return strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
}

// volumes starts the Deployment that has its binary in a volume, on both nodes.
func (c *cluster) volumes() {
	c.t.Helper()
	c.release("v1")
	c.kubectl("apply", "-f", "examples/deploy/kubernetes/in-place.yaml")
	c.runs("in-place", "v1", 2)
}

// release puts a version where the nodes have it, by rename.
func (c *cluster) release(version string) {
	c.t.Helper()
	binary := flow.Static(c.t, "nethttp", version, "")
	for _, node := range []string{"node1", "node2"} {
		c.on(node, "sh", "-c", "mkdir -p /srv/app && "+
			"cp "+binary+" /srv/app/app.new && mv /srv/app/app.new /srv/app/app")
	}
}

func (c *cluster) swaps() time.Duration {
	c.t.Helper()
	c.release("v2")
	begun := time.Now()
	c.follow("swap", 0)
	took := time.Since(begun)
	c.runs("in-place", "v2", 2)
	return took
}
