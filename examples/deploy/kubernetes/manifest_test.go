//go:build linux

package kubernetes

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

func TestMain(m *testing.M) { flow.Main(m) }

// manifest is app.yaml. A field that Kubernetes does not know, or one that is
// there twice, is an error.
type manifest struct {
	Deployment *appsv1.Deployment
	Service    *corev1.Service
	Budget     *policyv1.PodDisruptionBudget
}

func readManifest(t testing.TB, name string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(folder(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range bytes.Split(text, []byte("\n---\n")) {
		object, err := decode(one)
		switch object := object.(type) {
		case *appsv1.Deployment:
			m.Deployment = object
		case *corev1.Service:
			m.Service = object
		case *policyv1.PodDisruptionBudget:
			m.Budget = object
		default:
			t.Fatalf("%s: %T, %v", name, object, err)
		}
	}
	if m.Deployment == nil || m.Service == nil {
		t.Fatal("app.yaml: want a Deployment and a Service")
	}
	return m
}

// marked returns the README's code block behind a marker.
func marked(t testing.TB, marker string) string {
	t.Helper()
	text, err := os.ReadFile(folder("README.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)<!-- " + marker + " -->\n```sh\n(.*?)```\n").FindSubmatch(text)
	if m == nil {
		t.Fatalf("the README has no block marked %q", marker)
	}
	return string(m[1])
}

func decode(text []byte) (runtime.Object, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	object, _, err := serializer.NewCodecFactory(scheme,
		serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	return object, nil
}

func (m manifest) pod() corev1.PodSpec         { return m.Deployment.Spec.Template.Spec }
func (m manifest) container() corev1.Container { return m.pod().Containers[0] }

func (m manifest) env(name string) string {
	for _, e := range m.container().Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func (m manifest) duration(t testing.TB, name string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(m.env(name))
	if err != nil {
		t.Fatalf("app.yaml: %s: %v", name, err)
	}
	return d
}

// TestNumbers: those that have to fit each other do.
func TestNumbers(t *testing.T) {
	m := readManifest(t, "app.yaml")
	c := m.container()
	ready, live := c.ReadinessProbe, c.LivenessProbe

	const margin = 5 * time.Second
	least := m.duration(t, "APP_PULL_MAX") + m.duration(t, "APP_DRAIN_TIMEOUT") + margin
	if grace := time.Duration(*m.pod().TerminationGracePeriodSeconds) * time.Second; grace != least {
		t.Errorf("terminationGracePeriodSeconds is %v, want APP_PULL_MAX + APP_DRAIN_TIMEOUT + %v, which is %v",
			grace, margin, least)
	}
	if noticed := time.Duration(ready.PeriodSeconds*ready.FailureThreshold) * time.Second; noticed >= m.duration(t,
		"APP_PULL_MAX") {
		t.Errorf("the kubelet takes %v to notice, and APP_PULL_MAX is %v", noticed, m.duration(t, "APP_PULL_MAX"))
	}
	if want := fmt.Sprint(ready.FailureThreshold); m.env("APP_FAILURES") != want {
		t.Errorf("APP_FAILURES is %s, want the readiness probe's failureThreshold, %s", m.env("APP_FAILURES"), want)
	}
	if ready.HTTPGet.Path != "/ping" || live.HTTPGet.Path != "/livez" {
		t.Errorf("probes at %s and %s, want /ping for readiness and /livez for liveness", ready.HTTPGet.Path,
			live.HTTPGet.Path)
	}
	if c.Lifecycle != nil {
		t.Error("there is a lifecycle hook, want none")
	}
	if m.Deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
		t.Error("maxUnavailable is not 0: a rolling update would begin with fewer pods than the load takes")
	}
	for key, value := range m.Service.Spec.Selector {
		if m.Deployment.Spec.Template.Labels[key] != value || m.Deployment.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("the Service selects %s=%s, the pods are %v", key, value, m.Deployment.Spec.Template.Labels)
		}
	}
	port := c.Ports[0]
	for _, name := range []string{m.Service.Spec.Ports[0].TargetPort.String(), ready.HTTPGet.Port.String(),
		live.HTTPGet.Port.String()} {
		if name != port.Name {
			t.Errorf("port %s, want %s", name, port.Name)
		}
	}
	if addr := m.env("APP_ADDR"); addr != ":8080" || port.ContainerPort != 8080 {
		t.Errorf("APP_ADDR is %s, the container's port %d", addr, port.ContainerPort)
	}
}

// TestSettings: what the manifest sets is something the service knows.
func TestSettings(t *testing.T) {
	help, code := flow.Run(t, exec.Command(flow.Build(t, "nethttp", "v1", ""), "-help"))
	if code != 0 {
		t.Fatalf("-help: exit code %d\n%s", code, help)
	}
	for _, e := range readManifest(t, "app.yaml").container().Env {
		name, ok := strings.CutPrefix(e.Name, "APP_")
		name = "  -" + strings.ReplaceAll(strings.ToLower(name), "_", "-") + " "
		if !ok || !strings.Contains(help, name) {
			t.Errorf("app.yaml sets %s, and the service has no flag%s:\n%s", e.Name, name, help)
		}
	}
}

// TestStrict: the test would see a typing error.
func TestStrict(t *testing.T) {
	for _, wrong := range []string{
		"apiVersion: v1\nkind: Service\nspec:\n  selectors: {app: app}\n",
		"apiVersion: v1\nkind: Service\nspec:\n  Selector: {app: app}\n",
		"apiVersion: v1\nkind: Service\nspec: {}\nspec: {}\n",
		"apiVersion: v2\nkind: Service\n",
	} {
		if object, err := decode([]byte(wrong)); err == nil {
			t.Errorf("decoded, want an error: %s\n%v", wrong, object)
		}
	}
}
