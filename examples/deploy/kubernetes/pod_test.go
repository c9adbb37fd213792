//go:build linux

package kubernetes

import (
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
	corev1 "k8s.io/api/core/v1"
)

// cluster plays the parts of Kubernetes that a service has to do with: the
// kubelet, the endpoint controller and, with proxy, kube-proxy.
type cluster struct {
	t testing.TB
	manifest
	*proxy
	lateBy   time.Duration     // from a pod's deletion until its endpoint is gone everywhere; < 0: never
	deafens  bool              // the kubelet of 1.22 to 1.24.1: no readiness probe once a pod is deleted
	override map[string]string // of the manifest's environment
	grace    time.Duration
}

func newCluster(t testing.TB, lateBy time.Duration) *cluster {
	t.Helper()
	m := readManifest(t)
	return &cluster{
		t: t, manifest: m, proxy: newProxy(t), lateBy: lateBy, override: map[string]string{},
		grace: time.Duration(*m.pod().TerminationGracePeriodSeconds) * time.Second,
	}
}

// pod is one container, its first process PID 1 of a namespace, and the
// goroutines of its kubelet.
type pod struct {
	*flow.Process
	c       *cluster
	end     string        // its endpoint
	first   int           // PID 1, as it is seen from outside
	deleted chan struct{} // closed by delete
	unready atomic.Bool   // by its readiness probe
	killed  atomic.Bool
}

// start runs a pod until the end of the test.
func (c *cluster) start(binary string) *pod {
	c.t.Helper()
	// The pods share the test's network, so each has an address of its own there.
	end := net.JoinHostPort(flow.Host(), strconv.Itoa(int(c.container().Ports[0].ContainerPort)))
	cmd := flow.Contain(c.t, binary)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range c.container().Env {
		value, ok := c.override[e.Name]
		if !ok {
			value = e.Value
		}
		if e.Name == "APP_ADDR" {
			value = end
		}
		cmd.Env = append(cmd.Env, e.Name+"="+value)
	}
	p := &pod{Process: flow.Start(c.t, cmd), c: c, end: end, deleted: make(chan struct{})}
	c.t.Cleanup(func() {
		if strings.Contains(p.Output(), "DATA RACE") {
			c.t.Errorf("%s has a data race:\n%s", end, p.Output())
		}
	})
	flow.Eventually(c.t, "PID 1 of "+end, func() bool {
		p.first = flow.Child(cmd.Process.Pid)
		return p.first > 0
	})
	go p.watchReadiness()
	go p.watchLife()
	return p
}

// watchReadiness is the kubelet's worker for it, which goes on until the
// container has ended, and the endpoint controller: a pod that is to go is
// never put in again.
func (p *pod) watchReadiness() {
	probe := p.c.container().ReadinessProbe
	p.probe(probe, func(run int, ok bool) bool {
		p.unready.Store(!ok && run >= int(probe.FailureThreshold))
		select {
		case <-p.deleted:
			return !p.c.deafens
		default:
		}
		switch {
		case ok && run >= int(max(1, probe.SuccessThreshold)):
			p.c.set(p.end, true)
		case !ok && run == int(probe.FailureThreshold):
			p.late()
		}
		return true
	})
}

// watchLife is the kubelet's worker for liveness, which ends with the deletion.
func (p *pod) watchLife() {
	probe := p.c.container().LivenessProbe
	p.probe(probe, func(run int, ok bool) bool {
		select {
		case <-p.deleted:
			return false
		default:
		}
		if !ok && run == int(probe.FailureThreshold) {
			p.c.t.Errorf("%s fails its liveness probe: the kubelet would restart it", p.end)
		}
		return true
	})
}

// probe asks the way the kubelet does, and tells how often in a row the answer
// has been the same.
func (p *pod) probe(spec *corev1.Probe, tell func(run int, ok bool) bool) {
	client := &http.Client{
		Timeout:   time.Duration(spec.TimeoutSeconds) * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	ticker := time.NewTicker(time.Duration(spec.PeriodSeconds) * time.Second)
	defer ticker.Stop()
	run, last := 0, false
	for {
		req, _ := http.NewRequest("GET", "http://"+p.end+spec.HTTPGet.Path, nil)
		req.Header.Set("User-Agent", "kube-probe/1.34")
		req.Header.Set("Accept", "*/*")
		res, err := client.Do(req)
		ok := err == nil && res.StatusCode >= 200 && res.StatusCode < 400
		if err == nil {
			_ = res.Body.Close()
		}
		if ok != last {
			run, last = 0, ok
		}
		if run++; !tell(run, ok) {
			return
		}
		select {
		case <-ticker.C:
		case <-p.Ended():
			return
		}
	}
}

// ready waits until new connections come to the pod.
func (p *pod) ready() *pod {
	p.c.t.Helper()
	flow.Eventually(p.c.t, p.end+" is an endpoint", func() bool { return p.c.has(p.end) })
	return p
}

// delete begins a pod's end: TERM first, its endpoint goes later, and KILL
// comes when the grace period is over, which is a failure.
func (p *pod) delete() {
	p.c.t.Helper()
	close(p.deleted)
	if err := syscall.Kill(p.first, syscall.SIGTERM); err != nil {
		p.c.t.Errorf("TERM for %s: %v", p.end, err)
	}
	p.late()
	kill := time.AfterFunc(p.c.grace, func() {
		p.killed.Store(true)
		p.End()
	})
	go func() {
		<-p.Ended()
		kill.Stop()
	}()
}

// late takes the endpoint out some time after somebody has decided it, for the
// news goes by way of the API server to every machine; not where the pod is
// well again by then, as one is that was slow to start.
func (p *pod) late() {
	if p.c.lateBy < 0 {
		return
	}
	time.AfterFunc(p.c.lateBy, func() {
		select {
		case <-p.deleted:
		default:
			if !p.unready.Load() {
				return
			}
		}
		p.c.set(p.end, false)
	})
}

// gone waits for the end of a deleted pod, and wants its exit code.
func (p *pod) gone(code int) {
	p.c.t.Helper()
	<-p.Ended()
	if p.killed.Load() {
		p.c.t.Fatalf("%s still ran %v after TERM, and was killed", p.end, p.c.grace)
	}
	if got := p.ProcessState.ExitCode(); got != code {
		p.c.t.Errorf("%s: exit code %d, want %d", p.end, got, code)
	}
}
