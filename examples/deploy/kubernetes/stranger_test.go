//go:build linux

package kubernetes

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestStranger: a pid that was the cluster's before a reboot is another process now, which goes on.
func TestStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := flow.Start(t, exec.Command("sleep", "600"))
	flow.WriteFile(t, dir, "run.pid", strconv.Itoa(p.Process.Pid)+"\n")
	said, code := flow.Run(t, exec.Command("bash", "cluster.sh", "down", dir))
	if code != 1 || !strings.Contains(said, "not up: "+dir) {
		t.Errorf("down: exit code %d, %q, want 1 and that it is not up", code, said)
	}
	select {
	case <-p.Ended():
		t.Error("it has ended another process")
	default:
	}
}
