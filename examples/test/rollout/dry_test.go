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

// full has what comes after it find no room for a byte on any disk.
const full = "trap '' XFSZ; ulimit -f 0; "

// onFullDisk runs a command of dash's; what it says goes into a pipe.
func onFullDisk(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	cmd.Args = append([]string{"dash", "-c", full + "exec \"$@\"", "dash"}, cmd.Args...)
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(said), cmd.ProcessState.ExitCode()
}

// tree lists all files of the site with their sizes, and where links lead.
func (s *site) tree() string {
	s.t.Helper()
	list := []string{s.dir}
	for _, n := range s.nodes {
		list = append(list, filepath.Dir(s.bin(n)))
	}
	said, err := exec.Command("find", append(list, "!", "-name", "*log", "-printf", "%p %s %l\\n")...).Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return string(said)
}

// TestDryRun: it refuses what the release would refuse before the first node is touched, by the same code, and leaves
// nothing behind.
func TestDryRun(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	v2 := build(t, "v2", "")
	both := func(code int, words string, run func(args ...string) (string, int)) {
		t.Helper()
		before := s.tree()
		for _, args := range [][]string{{"--dry-run", "upgrade", v2}, {"upgrade", v2}} {
			said, got := run(args...)
			if got != code || !strings.Contains(said, words) || strings.Contains(said, "would release") {
				t.Errorf("%s: exit code %d, want %d and %q:\n%s", args, got, code, words, said)
			}
			if after := s.tree(); len(args) == 3 && after != before {
				t.Errorf("a dry run has left\n%s\nwhere there was\n%s", after, before)
			}
		}
	}
	with := func(env ...string) func(...string) (string, int) {
		return func(args ...string) (string, int) { return flow.Run(t, s.command(args, env...)) }
	}
	state := func(name string) string { return "STATE=" + filepath.Join(s.dir, name) }
	for _, folder := range []string{"locked/lock", "lost/history"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	flow.WriteFile(t, s.dir, "file", "")
	both(6, "nothing was touched", with(state("file/x")))
	both(6, "nothing was touched", with(state("locked")))
	both(6, "nothing was touched", with(state("lost")))
	both(6, "make room there", func(args ...string) (string, int) { return onFullDisk(t, s.command(args)) })
	both(6, "a cannot be claimed", with("AT_NODE=dash "+s.script("full.sh",
		"case $1 in claim*) "+full+"true ;; esac\nexec dash "+deploy+"/node.sh \"$@\"\n")))
	settings := s.script("app.env", "APP_DRAIN_TIMEOUT=11s # fine\nAPP_PULL_MIN=1s 2s\n")
	both(6, "put the value in quotes", with("SETTINGS="+settings))
	s.release(0, "shared", "share", build(t, "v3", ""), state("other"))
	both(7, "a is in the hands of another release", with())
	s.release(0, "rolled back", "rollback", "", state("other"))
	s.release(0, "nothing was touched", "--dry-run upgrade", v2)
	s.runs("v1")
	if left := s.claims(); left != "" {
		t.Errorf("%q are claimed still", left)
	}
}
