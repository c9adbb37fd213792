//go:build linux

package kubernetes

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
	corev1 "k8s.io/api/core/v1"
)

// veryLate is later than the kubelet's three readiness probes.
const veryLate = 12 * time.Second

// lateEndpoints: of two machines one goes on sending connections to a pod that was deleted, as its kube-proxy stands
// still. The pod waits for it. What stops at TERM loses requests there, or this would show nothing; what is never left
// alone has ended before KILL.
func (c *cluster) lateEndpoints() {
	c.t.Helper()
	c.variant("eager", 2, 65, "APP_PULL_MIN", "0", "APP_PULL_MAX", "1ns")
	c.variant("endless", 1, 20, "APP_PULL_MIN", "0", "APP_PULL_MAX", "3s", "APP_DRAIN_TIMEOUT", "2s") // 15 s more
	eager, endless := c.load("eager", 2, 4, 4), c.load("endless", 2, 2, 2)
	pod, cut := c.of("app")[0], c.of("endless")[0]
	conn, err := c.nodes[1].Dial(cut.Status.PodIP + ":8080")
	if err == nil {
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /slow?d=1m HTTP/1.1\r\nHost: app\r\n\r\n")
	}
	if err != nil {
		c.t.Fatal(err)
	}
	log := flow.Start(c.t, c.command("kubectl", "logs", "-f", cut.Name))

	goOn := c.stop("node2-kube-proxy")
	begun := time.Now()
	c.kubectl("delete", "--wait=false", "pod", pod.Name, cut.Name, c.of("eager")[0].Name)
	flow.Eventually(c.t, "a service that stops at TERM loses requests", func() bool { return eager.Failed() > 0 })
	c.exited(cut.Name, 1)
	flow.Eventually(c.t, "the log of "+cut.Name, func() bool {
		return strings.Contains(log.Output(), "cut off 1 active connection(s)")
	})
	flow.Eventually(c.t, "the kubelet has noticed "+pod.Name, func() bool {
		return slices.Contains(c.endpoint(pod.Name), "terminating")
	})
	time.Sleep(time.Until(begun.Add(veryLate)))
	if c.ended(pod.Name) {
		c.t.Errorf("%s has ended, and new connections still came", pod.Name)
	}
	goOn()
	c.exited(pod.Name, 0)
	c.runs("app", "v1", 3)
	c.t.Log("stops at TERM:", eager.End())
	endless.End()
	c.kubectl("delete", "--wait=false", "deployment", "eager", "endless")
}

// deafKubelet: from the moment in which the pod is told to go nobody asks it any more, as with kubelets of 1.22 to
// 1.24.1, here because the kubelet stands still.
func (c *cluster) deafKubelet() {
	c.t.Helper()
	pod := c.of("app")[0]
	c.kubectl("delete", "--wait=false", "pod", pod.Name)
	flow.Eventually(c.t, pod.Name+" has got TERM", func() bool {
		who, err := c.whoami(pod)
		return err == nil && who.Phase == "pulled"
	})
	goOn := c.stop(pod.Spec.NodeName + "-kubelet")
	flow.Eventually(c.t, pod.Name+" has ended", func() bool {
		for line := range strings.Lines(c.on(pod.Spec.NodeName, "ctr", "-n", "k8s.io", "tasks", "ls")) {
			if strings.HasPrefix(line, container(pod)) {
				return strings.Contains(line, "STOPPED")
			}
		}
		return true
	})
	goOn()
	c.exited(pod.Name, 0)
	c.runs("app", "v1", 3)
}

// variant starts the service of app.yaml with other settings.
func (c *cluster) variant(name string, replicas int32, grace int64, env ...string) {
	c.t.Helper()
	m := readManifest(c.t, "app.yaml")
	labels := map[string]string{"app": name}
	d := m.Deployment
	d.Name, d.Labels, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = name, labels, labels, labels
	m.Service.Name, m.Service.Spec.Selector = name, labels
	d.Spec.Replicas, d.Spec.Template.Spec.TerminationGracePeriodSeconds = &replicas, &grace
	for i := 0; i < len(env); i += 2 {
		for j, e := range m.container().Env {
			if e.Name == env[i] {
				m.container().Env[j] = corev1.EnvVar{Name: env[i], Value: env[i+1]}
			}
		}
	}
	c.apply(m.Service)
	c.apply(d)
	c.runs(name, "v1", int(replicas))
}
