//go:build linux

package ansible

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestUpLeavesOthersAlone: what is there may be in use. TestRole does the same where hosts are up.
func TestUpLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	flow.Root(t)
	flow.Tool(t, "ip", "apt-get install iproute2")
	for _, what := range []string{"folder", "lan", "client"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := noSite(t)
			path, says := filepath.Join(s.dir, "user"), "the folder "+s.dir
			if what == "folder" {
				if err := os.Mkdir(s.dir, 0o755); err != nil {
					t.Fatal(err)
				}
				flow.WriteFile(t, s.dir, "user", "a key")
			} else {
				name := s.name + "-" + what
				path, says = "/run/netns/"+name, "the namespace "+name
				if said, code := flow.Run(t, exec.Command("ip", "netns", "add", name)); code != 0 {
					t.Fatalf("ip netns add: %d, %s", code, said)
				}
				t.Cleanup(func() { flow.Run(t, exec.Command("ip", "netns", "del", name)) })
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			said, code := flow.Run(t, s.try("up"))
			if code != 7 || !strings.Contains(said, says) || !strings.Contains(said, `"try.sh down"`) {
				t.Errorf("try.sh up: exit code %d, want 7, %s and the cure: %s", code, says, said)
			}
			if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("try.sh up: %s is another one, or gone: %v", path, err)
			}
		})
	}
}

// TestUpThatEndsEarly: what it has made by then would keep the next one from its work.
func TestUpThatEndsEarly(t *testing.T) {
	t.Parallel()
	flow.Root(t)
	flow.Tool(t, "ip", "apt-get install iproute2")
	for what, keygen := range map[string]string{"it fails": "exit 9", "it is told to": "kill -TERM $PPID"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := noSite(t)
			dir := t.TempDir()
			if err := os.Chmod(flow.WriteFile(t, dir, "ssh-keygen", "#!/bin/sh\n"+keygen+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			s.env = append(s.env, "PATH="+dir+":"+os.Getenv("PATH"))
			if said, code := flow.Run(t, s.try("up")); code <= 0 || code == 7 {
				t.Errorf("try.sh up: exit code %d, %s", code, said)
			}
			left, err := filepath.Glob("/run/netns/" + s.name + "*")
			if _, missing := os.Stat(s.dir); err != nil || len(left) > 0 || !os.IsNotExist(missing) {
				t.Errorf("try.sh up has left %v, %v; %s: %v", left, err, s.dir, missing)
			}
		})
	}
}
