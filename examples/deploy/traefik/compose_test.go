//go:build linux

package traefik

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

const composeAddr = "127.0.0.1:8000" // in the engine's network, whose loopback is its own

// composed is this folder as an operator has it who has Docker: Traefik and the colours are containers.
type composed struct {
	t *testing.T
	*flow.Engine
	dir string
}

func newComposed(t *testing.T) *composed {
	t.Helper()
	traefik := flow.Tool(t, "traefik", "run .ci/get-traefik DIR and put DIR on the PATH")
	plugin := flow.Tool(t, "docker-compose", "run .ci/get-compose DIR and put DIR on the PATH")
	flow.Tool(t, "dash", "apt-get install dash")
	flow.Tool(t, "curl", "apt-get install curl")
	s := &composed{t: t, Engine: flow.NewEngine(t)}
	s.dir = filepath.Join(s.Dir, "site")
	plugins := filepath.Join(s.Dir, "config", "cli-plugins")
	for _, dir := range []string{plugins, filepath.Join(s.dir, "conf.d"), filepath.Join(s.dir, "site")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(plugin, filepath.Join(plugins, "docker-compose")); err != nil {
		t.Fatal(err)
	}
	if said, code := s.Run("compose", "version", "--short"); code != 0 || !strings.HasPrefix(said, "2.") {
		flow.Missing(t, "docker compose v2", "run .ci/get-compose DIR and put DIR on the PATH: "+said)
	}
	for _, name := range []string{
		"traefik.yml", "conf.d/app.yml", "site/blue", "site/green", "compose.yaml", "compose.sh", "../common.sh",
	} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// Quicker probes, as nothing but waiting hangs on them.
		quick := strings.NewReplacer("nterval: 1s", "nterval: 200ms",
			`"127.0.0.1:8081"]`, `"127.0.0.1:8081", "-drain-timeout", "1s"]`).Replace(string(text))
		flow.WriteFile(t, s.dir, strings.TrimPrefix(name, "../"), quick)
	}
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := s.Run("compose", "-f", filepath.Join(s.dir, "compose.yaml"), "logs", "--tail", "100")
			t.Log(said)
		}
	})
	s.Traefik(traefik)
	return s
}

// image builds one by the Dockerfile of ../docker, and returns the file that is released.
func (s *composed) image(version, fault string) string {
	s.t.Helper()
	return s.release(s.Service("nethttp", version, fault))
}

func (s *composed) release(image string) string {
	return flow.WriteFile(s.t, s.t.TempDir(), "release.env", "IMAGE="+image+"\n")
}

// run runs a command in the folder, which must exit with want.
func (s *composed) run(want int, name string, args ...string) string {
	s.t.Helper()
	cmd := s.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(cmd.Env, "BALANCER=traefik", "CONTROL_SH=./compose.sh")
	said, code := flow.Run(s.t, cmd)
	s.t.Logf("%s %s: %d\n%s", name, strings.Join(args, " "), code, said)
	if code != want {
		s.t.Fatalf("%s %s: exit code %d, want %d", name, strings.Join(args, " "), code, want)
	}
	return said
}

func (s *composed) releases(want int, args ...string) {
	s.t.Helper()
	s.run(want, "dash", append([]string{filepath.Join(flow.Examples(), "deploy", "release.sh")}, args...)...)
}

// only wants a colour live, and the other one's container gone or stopped.
func (s *composed) only(colour, version string) {
	s.t.Helper()
	client := draintest.Client{Addr: composeAddr, Dial: s.Dialer(composeAddr)}
	defer client.Close()
	answer, err := client.Do("GET", "/whoami", nil)
	var who flow.Identity
	if err == nil {
		err = json.Unmarshal(answer.Body, &who)
	}
	if err != nil || who.Version != version || who.Phase != "ready" {
		s.t.Fatalf("through Traefik answers %+v (%v), want version %s", who, err, version)
	}
	running := s.Docker("ps", "--format", "{{.Names}} {{.Image}}")
	if !strings.Contains(running, colour+"-1 app:"+version) || strings.Count(running, " app:") != 1 {
		s.t.Fatalf("these run: %s; want %s of %s alone", running, colour, version)
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	s := newComposed(t)
	s.run(0, "docker", "compose", "up", "-d", "traefik")
	flow.Eventually(t, "Traefik's API answers", func() bool {
		return s.Command("curl", "-q", "-s", "-f", "-o", "/dev/null", "http://127.0.0.1:8099/api/version").Run() == nil
	})
	v1 := s.image("v1", "")
	s.releases(0, "upgrade", v1)
	s.only("blue", "v1")
	v2, v3 := s.image("v2", ""), s.image("v3", "crash")

	load := flow.NewLoadBy(t, s.Dialer(composeAddr), composeAddr, 4, 2)
	start := time.Now()
	s.releases(0, "upgrade", v2)
	s.only("green", "v2")
	for _, broken := range []string{v3, s.release("app:none")} {
		s.releases(1, "upgrade", broken)
		s.only("green", "v2")
		s.releases(0, "rollback") // of what has not begun to serve
		s.only("green", "v2")
	}
	s.releases(0, "upgrade", v1)
	s.only("blue", "v1")
	load.Flows(20)
	load.Report("Traefik", "compose: two swaps of colours, and between them two that fail", time.Since(start))
	if n := load.Reconnects(); n > 0 {
		t.Errorf("%d reconnects at Traefik, want 0", n)
	}

	// What a stop has to cut off is said, once.
	conn, err := s.Dialer("127.0.0.1:8081")()
	if err == nil {
		defer conn.Close()
		_, err = io.WriteString(conn, "GET /slow?d=1m HTTP/1.1\r\nHost: app\r\n\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	control := filepath.Join(s.dir, "blue", "control")
	flow.Eventually(t, "the request is in flight", func() bool {
		st, err := drain.Client{Socket: control}.Status(context.Background())
		return err == nil && st.Open.Active > 0
	})
	stop := []string{"NODE=blue", "BIN=" + filepath.Join(s.dir, "blue", "app"), "dash", "compose.sh", "stop"}
	s.run(155, "env", stop...)
	s.run(0, "env", stop...)
}
