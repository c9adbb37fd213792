//go:build linux

package traefik

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// The Compose Specification's own reader, which checks against its schema.
const composeSpec = "github.com/compose-spec/compose-go/v2/cmd@v2.9.1"

func TestComposeFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install := exec.Command("go", "install", composeSpec)
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if said, code := flow.Run(t, install); code != 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("go install %s: %s", composeSpec, said)
		}
		t.Skipf("go install %s: %s", composeSpec, said)
	}
	read := func(text string) (string, int) {
		return flow.Run(t, exec.Command(filepath.Join(dir, "cmd"), flow.WriteFile(t, t.TempDir(), "compose.yaml", text)))
	}
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	said, code := read(string(text))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	// What the merge has made of green: no file but its own can have that line.
	for _, want := range []string{"127.0.0.1:8082", "/green\n", "stop_grace_period: 75s"} {
		if _, green, _ := strings.Cut(said, "    green:"); !strings.Contains(green, want) {
			t.Errorf("green has no %q:\n%s", want, said)
		}
	}
	for _, wrong := range []string{"stop_grace_perod: 75s", "stop_grace_period: [75]"} {
		if _, code := read(strings.ReplaceAll(string(text), "stop_grace_period: 75s", wrong)); code == 0 {
			t.Errorf("it takes %q: a check that can't fail shows nothing", wrong)
		}
	}
}

// docker stands in for Docker, which the tests have no engine for: an image is
// a program, a container is a process of it.
const docker = `#!/bin/sh
echo "$*" >>"$CALLS"
case $*:$# in
"compose -f "*" up -d --no-deps --wait --wait-timeout "*" $NODE:10")
	cp "$IMAGE" "$FOLDER/$NODE/app.run"
	verb=start ;;
"compose -f "*" stop $NODE:5") verb=stop ;;
"compose -f "*" logs "*) exit ;;
*) echo "docker: $*" >&2; exit 64 ;;
esac
BIN=$FOLDER/$NODE/app.run exec "$EXAMPLES/deploy/control.sh" $verb
`

// TestCompose: what compose.sh asks of Docker, and that release.sh gets along with it.
func TestCompose(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bin := flow.WriteFile(t, t.TempDir(), "docker", docker)
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	image := func(version, fault string) string {
		return flow.WriteFile(t, t.TempDir(), "release.env", "IMAGE="+s.build(version, fault)+"\n")
	}
	calls := filepath.Join(t.TempDir(), "calls")
	env := []string{"DOCKER=" + bin, "CALLS=" + calls, "EXAMPLES=" + flow.Examples(), "CONTROL_SH=" +
		filepath.Join(flow.Examples(), "deploy", "traefik", "compose.sh")}

	s.release(0, env, "upgrade", image("v1", ""))
	s.only("blue", "v1")
	load := flow.NewLoad(t, s.web(), 3, 2)
	start := time.Now()
	s.release(0, env, "upgrade", image("v2", ""))
	s.only("green", "v2")
	s.release(1, env, "upgrade", image("v3", "crash"))
	s.release(0, env, "rollback")
	s.release(1, env, "upgrade", flow.WriteFile(t, t.TempDir(), "release.env", "image=app"))
	v2 := s.only("green", "v2")
	load.Reaches(v2, 20)
	load.Report("Traefik", "a swap by compose.sh, and two that fail (Docker is a stand-in)", time.Since(start))
	said, _ := os.ReadFile(calls)
	if strings.Contains(string(said), " up") && !strings.Contains(string(said), "stop blue") {
		t.Errorf("docker was called with\n%s", said)
	}
}
