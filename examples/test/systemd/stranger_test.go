//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestStranger: a pid that was the bed's before a reboot is another process now. Bed.sh would power off the machine.
func TestStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flow.WriteFile(t, dir, "pid", strconv.Itoa(os.Getpid())+"\n")
	flow.WriteFile(t, dir, "cgroup", "/sys/fs/cgroup/baton-bed.none\n")
	cmd := exec.Command("../../deploy/systemd/bed.sh", "pid")
	cmd.Env = append(os.Environ(), "BED="+dir)
	if said, code := flow.Run(t, cmd); code == 0 || said != "" {
		t.Errorf("pid: exit code %d, %q, want none", code, said)
	}
}
