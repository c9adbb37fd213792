//go:build linux

package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/baton-go/baton/examples/internal/flow"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// history is what the API server has told of pods, by their names.
type history struct {
	mu        sync.Mutex
	endpoints map[string][]string // the conditions of a pod's endpoint, as they followed each other
	pods      map[string]corev1.Pod
	exits     map[string]int // the exit codes of their containers
	fewest    map[string]int // pods of an app that were ready at once, since somebody asked
}

// watch follows all pods and endpoints, until the end of the test.
func (c *cluster) watch() {
	c.t.Helper()
	c.history = &history{
		endpoints: map[string][]string{},
		pods:      map[string]corev1.Pod{},
		exits:     map[string]int{},
		fewest:    map[string]int{},
	}
	follow(c, "endpointslices", c.seeSlice)
	follow(c, "pods", c.seePod)
}

func follow[T any](c *cluster, what string, see func(event string, object T)) {
	c.t.Helper()
	cmd := c.command("kubectl", "get", what, "--watch", "--output-watch-events", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for in := json.NewDecoder(out); ; {
			var event struct {
				Type   string
				Object T
			}
			if in.Decode(&event) != nil {
				return
			}
			see(event.Type, event.Object)
		}
	}()
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
}

func (h *history) seeSlice(event string, slice discoveryv1.EndpointSlice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := map[string]string{}
	for _, e := range slice.Endpoints {
		var conditions []string
		for name, is := range map[string]*bool{
			"ready": e.Conditions.Ready, "serving": e.Conditions.Serving, "terminating": e.Conditions.Terminating,
		} {
			if is != nil && *is {
				conditions = append(conditions, name)
			}
		}
		if e.TargetRef != nil && event != "DELETED" {
			slices.Sort(conditions)
			now[e.TargetRef.Name] = strings.Join(conditions, ", ")
		}
	}
	service := slice.Labels[discoveryv1.LabelServiceName]
	for name := range h.endpoints { // a pod's name begins with that of its Deployment, which here is the Service's too
		if _, ok := now[name]; !ok && strings.HasPrefix(name, service+"-") {
			now[name] = "gone"
		}
	}
	for name, state := range now {
		if seen := h.endpoints[name]; len(seen) == 0 || seen[len(seen)-1] != state {
			h.endpoints[name] = append(seen, state)
		}
	}
}

func (h *history) seePod(event string, pod corev1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods[pod.Name] = pod
	for _, s := range pod.Status.ContainerStatuses {
		if s.RestartCount > 0 {
			h.exits[pod.Name] = restarted
		} else if s.State.Terminated != nil {
			h.exits[pod.Name] = int(s.State.Terminated.ExitCode)
		}
	}
	if event == "DELETED" {
		delete(h.pods, pod.Name)
	}
	app := pod.Labels["app"]
	h.fewest[app] = min(h.fewest[app], h.count(app))
}

// restarted is the exit code of a container that the kubelet has started again, as it does when the liveness probe
// fails.
const restarted = 1000

// of returns the pods of an app that nobody has deleted.
func (h *history) of(app string) (pods []corev1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pod := range h.pods {
		if pod.Labels["app"] == app && pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// exited waits for the exit code of a pod's container.
func (c *cluster) exited(pod string, want int) {
	c.t.Helper()
	flow.Eventually(c.t, pod+" has ended", func() bool { return c.ended(pod) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.exits[pod]; got != want {
		c.t.Errorf("%s: exit code %d, want %d", pod, got, want)
	}
}

func (h *history) ended(pod string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.exits[pod]
	return ok
}

// endpoint is what has become of a pod's endpoint so far.
func (h *history) endpoint(pod string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.endpoints[pod])
}

// least is how few pods of an app were ready at once since the last time it was asked. Those that end don't count.
func (h *history) least(app string) int {
	now := h.ready(app)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.fewest[app] = now }()
	return h.fewest[app]
}

func (h *history) ready(app string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count(app)
}

func (h *history) count(app string) (n int) {
	for _, pod := range h.pods {
		if pod.Labels["app"] == app && pod.DeletionTimestamp == nil &&
			slices.ContainsFunc(pod.Status.Conditions, func(is corev1.PodCondition) bool {
				return is.Type == corev1.PodReady && is.Status == corev1.ConditionTrue
			}) {
			n++
		}
	}
	return n
}
