//go:build linux

package kubernetes

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// late is later than a healthy cluster is, and sooner than the kubelet's three
// readiness probes; very late is later than these, too.
const late, veryLate = 3 * time.Second, 12 * time.Second

// TestRollingUpdate: three pods become three others, one by one, and nothing
// of it is to be seen from outside.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	c := newCluster(t, late)
	old := c.replicas(flow.Build(t, "nethttp", "v1", ""))
	load := flow.NewLoad(t, c.addr, 4, 4)
	begun := time.Now()
	v2 := flow.Build(t, "nethttp", "v2", "")
	var fresh []*pod
	for _, p := range old {
		fresh = append(fresh, c.start(v2).ready())
		p.delete()
	}
	for _, p := range old {
		p.gone(0)
	}
	took := time.Since(begun)
	load.Flows(50)
	load.Report("Kubernetes", "rolling update of 3 pods, endpoints 3 s late", took)
	for _, p := range fresh {
		if n := c.Sent(p.end); n == 0 {
			t.Errorf("%s has had no connection", p.end)
		}
		p.delete()
	}
	for _, p := range fresh {
		p.gone(0)
	}
}

// TestVeryLateEndpoints: who goes on sending connections is waited for.
func TestVeryLateEndpoints(t *testing.T) {
	t.Parallel()
	c := newCluster(t, veryLate)
	pods := c.replicas(flow.Build(t, "nethttp", "v1", ""))
	load := flow.NewLoad(t, c.addr, 4, 4)
	begun := time.Now()
	pods[0].delete()
	flow.Eventually(t, "the pod is noticed to be pulled by the kubelet", func() bool { return pods[0].unready.Load() })
	before := c.Sent(pods[0].end)
	pods[0].gone(0)
	if c.has(pods[0].end) {
		t.Error("the pod is gone, and its endpoint is still there")
	}
	if n := c.Sent(pods[0].end) - before; n == 0 {
		t.Error("no connection came after the kubelet had noticed: this shows nothing")
	}
	load.Report("Kubernetes", "a pod deleted, endpoint 12 s late", time.Since(begun))
}

// TestDeafKubelet: nobody asks /ping after TERM, and so nobody can notice.
func TestDeafKubelet(t *testing.T) {
	t.Parallel()
	c := newCluster(t, late)
	c.deafens = true
	pods := c.replicas(flow.Build(t, "nethttp", "v1", ""))
	load := flow.NewLoad(t, c.addr, 4, 4)
	begun := time.Now()
	pods[0].delete()
	pods[0].gone(0)
	load.Report("Kubernetes", "a pod deleted, endpoint 3 s late, kubelet of 1.22 to 1.24.1", time.Since(begun))
}

// TestEagerService: a service that stops at TERM loses requests here, or
// nothing above would mean anything.
func TestEagerService(t *testing.T) {
	t.Parallel()
	c := newCluster(t, late)
	c.override["APP_PULL_MIN"], c.override["APP_PULL_MAX"] = "0", "1ns"
	pods := c.replicas(flow.Build(t, "nethttp", "v1", ""))
	load := flow.NewLoad(t, c.addr, 4, 4)
	pods[0].delete()
	flow.Eventually(t, "the endpoint is gone", func() bool { return !c.has(pods[0].end) })
	load.End()
	t.Log(load)
	if load.Failed() == 0 {
		t.Errorf("a service that stops at TERM: %v, want some failed", load)
	}
}

// TestGraceCoversTheWorst: connections come until the end, one request never
// ends, and the service is still gone before it would be killed.
func TestGraceCoversTheWorst(t *testing.T) {
	t.Parallel()
	c := newCluster(t, -1)
	pullMax, drainTimeout := 3*time.Second, 2*time.Second
	c.override["APP_PULL_MIN"], c.override["APP_PULL_MAX"] = "0", pullMax.String()
	c.override["APP_DRAIN_TIMEOUT"] = drainTimeout.String()
	c.grace -= c.duration(t, "APP_PULL_MAX") - pullMax + c.duration(t, "APP_DRAIN_TIMEOUT") - drainTimeout
	p := c.start(flow.Build(t, "nethttp", "v1", "")).ready()

	endless, err := net.Dial("tcp", p.end)
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	if _, err := endless.Write([]byte("GET /slow?d=1m HTTP/1.1\r\nHost: app\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	load := flow.NewLoad(t, c.addr, 2, 2)
	p.delete()
	p.gone(1)
	load.End()
	if out := p.Output(); !strings.Contains(out, "cut off 1 active connection(s)") {
		t.Errorf("the service does not say what it has cut off:\n%s", out)
	}
}

// replicas starts as many pods as the manifest says.
func (c *cluster) replicas(binary string) (pods []*pod) {
	c.t.Helper()
	for range *c.Deployment.Spec.Replicas {
		pods = append(pods, c.start(binary))
	}
	for _, p := range pods {
		p.ready()
	}
	return pods
}
