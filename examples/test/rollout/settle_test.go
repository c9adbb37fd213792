//go:build linux

package rollout

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestSettle: a unit's settings are the release's, whole, or what they were; nothing starts with another one's. What
// is there already is not written once more, so that a full disk keeps no service down.
func TestSettle(t *testing.T) {
	t.Parallel()
	flow.Tool(t, "cmp", "apt-get install diffutils")
	dir := t.TempDir()
	bin, called := filepath.Join(dir, "app"), filepath.Join(t.TempDir(), "called")
	if err := os.MkdirAll(bin+".releases/1", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("app.releases/1/app", bin); err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	systemctl := flow.WriteFile(t, tools, "systemctl", `#!/bin/sh
case $* in
*EnvironmentFiles*) echo "$BIN.env (ignore_errors=yes)" ;;
*ActiveState*) echo inactive ;;
show*) ;;
*) mkdir `+called+` ;;
esac
`)
	if err := os.Chmod(systemctl, 0o755); err != nil {
		t.Fatal(err)
	}
	unit := func(verb string) *exec.Cmd {
		cmd := exec.Command("dash", deploy+"/systemd/unit.sh", verb)
		cmd.Env = append(os.Environ(), "BIN="+bin, "CONTROL="+dir+"/control", "UNIT=nothing",
			"PATH="+tools+":"+os.Getenv("PATH"))
		return cmd
	}
	has := func(want string) {
		t.Helper()
		got, _ := os.ReadFile(bin + ".env")
		if names, _ := filepath.Glob(bin + "*"); len(names) != 3 || string(got) != want {
			t.Errorf("there are %q, and the settings are %q, want %q", names, got, want)
		}
	}
	flow.WriteFile(t, dir, "app.releases/1/env", "APP_X='1$'\nAPP_Y=2\n")
	const first = "APP_X=\"1\\$\"\nAPP_Y=\"2\"\n"
	if said, code := flow.Run(t, unit("settle")); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, said)
	}
	has(first)
	if said, code := onFullDisk(t, unit("settle")); code != 0 {
		t.Errorf("the same once more, on a full disk: exit code %d, want 0: %s", code, said)
	}
	flow.WriteFile(t, dir, "app.releases/1/env", "APP_X=3\n")
	for _, verb := range []string{"settle", "start"} {
		said, code := onFullDisk(t, unit(verb))
		if code != 6 || !strings.Contains(said, "make room there") || !strings.Contains(said, "other settings") {
			t.Errorf("%s on a full disk: exit code %d, want 6 and the cure: %s", verb, code, said)
		}
		has(first)
	}
	if _, err := os.Stat(called); err == nil {
		t.Error("the unit was started with another release's settings")
	}
}
