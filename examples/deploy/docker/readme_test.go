//go:build linux

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestReadme: its first commands, in a copy of the repository and with other folders.
func TestReadme(t *testing.T) {
	t.Parallel()
	e := flow.NewEngine(t)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	commands, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md has no commands")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(e.Dir, "clone")
	copying := exec.Command("sh", "-euc", `mkdir "$2"; cd "$1"; tar cf - --exclude=./.git . | tar xf - -C "$2"`, "sh", root, clone)
	if said, code := flow.Run(t, copying); code != 0 {
		t.Fatalf("a copy of %s: %s", root, said)
	}
	commands = strings.NewReplacer("/srv/app", e.Dir+"/srv", "/tmp/", e.Dir+"/").Replace(commands)
	follow := e.Command("sh", "-euxc", commands)
	follow.Dir = clone
	said, code := flow.Run(t, follow)
	if code != 0 || !strings.Contains(said, "ready, generation 2\n") || !strings.Contains(said, "0 restarts") {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if got := e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "app"); got != "exited 0" {
		t.Errorf("after sh docker.sh stop the container is %s", got)
	}
}
