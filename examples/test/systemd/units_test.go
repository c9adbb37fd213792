//go:build linux

package systemd

import (
	"os/exec"
	"strings"
	"testing"
)

// TestUnitsAreClean: systemd has nothing to remark on them.
func TestUnitsAreClean(t *testing.T) {
	b := newBed(t)
	b.put("../../deploy/systemd/app.socket", units+"app.socket")
	b.put("../../deploy/systemd/releases.conf", dropIn+"releases.conf")
	if out := b.run("systemd-analyze", "verify", "app.service", "app.socket"); strings.TrimSpace(out) != "" {
		t.Error(out)
	}
	// The scale goes from 0 to 10, the best that a service with a network can reach is about 1.
	b.run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", units+"app.service")
}

func TestScriptIsClean(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		missing(t, "shellcheck is missing")
	}
	cmd := exec.Command(shellcheck, "../../deploy/systemd/bed.sh", "../../deploy/systemd/unit.sh")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
