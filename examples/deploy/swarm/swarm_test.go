//go:build linux

// Package swarm is a test of the flow in this folder.
package swarm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

const addr = "127.0.0.1:8000" // in the engine's network, whose loopback is its own

type site struct {
	t *testing.T
	*flow.Engine
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	traefik := flow.Tool(t, "traefik", "run .ci/get-traefik DIR and put DIR on the PATH")
	flow.Tool(t, "busybox", "apt-get install busybox")
	s := &site{t: t, Engine: flow.NewEngine(t)}
	s.dir = filepath.Join(s.Dir, "site")
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Quicker, as nothing but waiting hangs on these. A health check more often would be most of what the test costs:
	// each starts five processes.
	quick := strings.NewReplacer(" interval: 2s", " interval: 1s", "delay: 2s", "delay: 500ms",
		"monitor: 5s", "monitor: 2s", "start_period: 60s", "start_period: 10s")
	for _, name := range []string{"stack.yaml", "swarm.sh", "../common.sh"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		flow.WriteFile(t, s.dir, filepath.Base(name), quick.Replace(string(text)))
	}
	t.Cleanup(func() {
		for _, service := range []string{"web_traefik", "web_app"} {
			if t.Failed() {
				said, _ := s.Run("service", "logs", "--tail", "100", service)
				t.Log(said)
			}
		}
	})
	s.Traefik(traefik)
	return s
}

func (s *site) image(version, fault string) string {
	s.t.Helper()
	return s.Service("gin", version, fault)
}

// do runs swarm.sh, which must exit with want.
func (s *site) do(want int, args ...string) string {
	s.t.Helper()
	cmd := s.Command("busybox", append([]string{"sh", "swarm.sh"}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(cmd.Env, "UPDATE_ARGS=--no-resolve-image", "DOCKER_SOCK="+s.Socket(), "TIMEOUT=120")
	start := time.Now()
	said, code := flow.Run(s.t, cmd)
	s.t.Logf("swarm.sh %s: %d, %.1f s\n%s", strings.Join(args, " "), code, time.Since(start).Seconds(), said)
	if code != want {
		s.t.Fatalf("swarm.sh %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want,
			s.Docker("service", "ps", "--no-trunc", "web_app"))
	}
	return said
}

// fails wants an update that Swarm rolls back, and the reason of the image.
func (s *site) fails(image, why string) {
	s.t.Helper()
	said := s.do(1, "update", image)
	if !strings.Contains(said, why) || !strings.Contains(said, image+" fails: app:v1 runs, as before") {
		s.t.Errorf("want %q of %s, not %s", why, image, said)
	}
}

// serves waits until Traefik reaches the version, and no other. It learns of tasks late.
func (s *site) serves(version string) {
	s.t.Helper()
	client := draintest.Client{Addr: addr, Dial: s.Dialer(addr)}
	defer client.Close()
	flow.Eventually(s.t, "all that Traefik reaches is "+version, func() bool {
		for range 6 {
			answer, err := client.Do("GET", "/whoami", nil)
			if err != nil || !strings.Contains(string(answer.Body), `"version":"`+version+`"`) {
				time.Sleep(50 * time.Millisecond)
				return false
			}
		}
		return true
	})
}

func TestSwarm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v1, v2, crash, hang := s.image("v1", ""), s.image("v2", ""), s.image("v3", "crash"), s.image("v4", "hang")
	s.Docker("swarm", "init", "--advertise-addr", "127.0.0.1")
	s.do(0, "deploy", v1)
	s.serves("v1")

	for _, c := range []struct {
		what, serves string
		do           func()
	}{
		{"update of two tasks", "v2", func() { s.do(0, "update", v2) }},
		{"rollback of two tasks", "v1", func() { s.do(0, "rollback") }},
		{"an image that crashes: rolled back", "v1", func() { s.fails(crash, "non-zero exit (3)") }},
		{"an image that is never ready: rolled back", "v1", func() { s.fails(hang, "was not healthy") }},
	} {
		load := flow.NewLoadBy(t, s.Dialer(addr), addr, 6, 3)
		start := time.Now()
		c.do()
		took := time.Since(start)
		s.serves(c.serves)
		load.Flows(50)
		load.Report("Swarm and Traefik", c.what, took)
	}
	s.do(0, "status")
}

// TestLostNode: what a node that is gone has last said of its tasks holds no update up.
func TestLostNode(t *testing.T) {
	t.Parallel()
	s, worker := newSite(t), flow.NewEngine(t)
	s.Cable(worker)
	var images []string
	for _, version := range []string{"v1", "v2", "v3"} {
		images = append(images, s.image(version, ""))
		worker.Service("gin", version, "") // there is no registry
	}
	s.Docker("swarm", "init", "--advertise-addr", "10.9.0.1", "--dispatcher-heartbeat", "1s")
	worker.Docker("swarm", "join", "--advertise-addr", "10.9.0.2", "--token",
		s.Docker("swarm", "join-token", "-q", "worker"), "10.9.0.1:2377")
	s.do(0, "deploy", images[0])
	if tasks := worker.Docker("ps", "--format", "{{.Image}}"); tasks != images[0] {
		t.Fatalf("at the worker run %q, want %s", tasks, images[0])
	}
	worker.Kill()
	flow.Eventually(t, "Swarm has lost the worker, and runs its task elsewhere", func() bool {
		return strings.Contains(s.Docker("node", "ls", "--format", "{{.Status}}"), "Down") &&
			strings.Count(s.Docker("ps", "--format", "{{.Image}}"), images[0]) == 2
	})
	s.do(0, "update", images[1])
	s.serves("v2")
	s.do(0, "rollback")
	s.serves("v1")
}
