//go:build linux

package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestTwoAtOneBed: while one brings a bed up, a second one is refused, and one that takes it down waits.
func TestTwoAtOneBed(t *testing.T) {
	b := bareBed(t)
	b.bed("down")
	first, came, goOn := b.halted("awk") // which up calls early
	b.eventually("the first one builds", came)
	if out, code := b.bed("up"); code != 7 || !strings.Contains(out, "another bed.sh is at work") {
		t.Errorf("a second bed.sh up: %d, want 7 and why: %s", code, out)
	}
	down := b.start("down")
	b.eventually("bed.sh down waits", func() bool {
		select {
		case <-down.Ended():
			t.Fatalf("bed.sh down has not waited: %s", down.Output())
		default:
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", flow.Child(down.Process.Pid)))
		return string(comm) == "flock\n"
	})
	goOn()
	for what, p := range map[string]*flow.Process{"up": first, "down": down} {
		<-p.Ended()
		if code := p.ProcessState.ExitCode(); code != 0 {
			t.Errorf("bed.sh %s: %d, %s", what, code, p.Output())
		}
	}
	if out, code := b.bed("pid"); code == 0 {
		t.Errorf("bed.sh down has left the bed up: %s", out)
	}
	// Nor does what runs on keep the next one away.
	if out, code := b.bed("up"); code != 0 {
		t.Errorf("bed.sh up: %d, %s", code, out)
	}
	if out, code := b.bed("up"); code != 1 || !strings.Contains(out, "already up") {
		t.Errorf("bed.sh up, once more: %d, want 1 and why: %s", code, out)
	}
}

// TestOwnerOfAnEarlierBed: its end is none to the bed that has taken that one's place.
func TestOwnerOfAnEarlierBed(t *testing.T) {
	b := bareBed(t)
	b.bed("down")
	owner := exec.Command("sleep", "infinity")
	owner.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	earlier := &bed{t: t, env: append(b.env[:len(b.env):len(b.env)], fmt.Sprintf("BED_OWNER=%d", owner.Process.Pid))}
	if out, code := earlier.bed("up"); code != 0 {
		t.Fatalf("bed.sh up: %d, %s", code, out)
	}
	mourner := b.mourner(owner.Process.Pid)
	_ = syscall.Kill(mourner, syscall.SIGSTOP)
	b.bed("down")
	if out, code := b.bed("up"); code != 0 {
		t.Fatalf("bed.sh up: %d, %s", code, out)
	}
	_ = owner.Process.Kill()
	_ = owner.Wait()
	_ = syscall.Kill(mourner, syscall.SIGCONT)
	b.eventually("the mourner has ended", func() bool { return !flow.Alive(mourner) })
	if out, code := b.bed("pid"); code != 0 {
		t.Errorf("the end of an earlier bed's owner has taken this one down: %d, %s", code, out)
	}
}

// mourner is what up has left to wait for the owner's end. It has children that look like it, for moments.
func (b *bed) mourner(owner int) (pid int) {
	b.t.Helper()
	setting := fmt.Sprintf("\x00BED_OWNER=%d\x00", owner)
	envs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range envs {
		env, _ := os.ReadFile(path)
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if strings.Contains("\x00"+string(env), setting) && strings.HasSuffix(string(args), "bed.sh\x00up\x00") &&
			(pid == 0 || n < pid) {
			pid = n
		}
	}
	if pid == 0 {
		b.t.Fatal("bed.sh up has left nobody to wait for the owner's end")
	}
	return pid
}

// TestUpIsInterrupted: before and after the bed has processes.
func TestUpIsInterrupted(t *testing.T) {
	for _, tool := range []string{"awk", "ip"} {
		t.Run(tool, func(t *testing.T) {
			b := bareBed(t)
			b.bed("down")
			up, came, goOn := b.halted(tool)
			b.eventually("up is in the middle", came)
			if out, code := b.bed("run", "true"); code != 1 || !strings.Contains(out, "not up") {
				t.Errorf("a command for the bed, when its root is this machine's: %d, want 1 and why: %s", code, out)
			}
			_ = up.Process.Signal(syscall.SIGTERM)
			if tool == "awk" {
				goOn() // a shell heeds signals behind its command
			}
			<-up.Ended()
			if code := up.ProcessState.ExitCode(); code != 1 || !strings.Contains(up.Output(), "nothing is left") {
				t.Errorf("bed.sh up: %d, want 1 and why: %s", code, up.Output())
			}
			dir, _ := strings.CutPrefix(b.env[0], "BED=")
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("bed.sh up has left %s: %v", dir, err)
			}
			if out, code := b.bed("up"); code != 0 {
				t.Errorf("bed.sh up: %d, %s", code, out)
			}
		})
	}
}

// halted begins an up that stands still where it calls a tool, until goOn.
func (b *bed) halted(tool string) (up *flow.Process, came func() bool, goOn func()) {
	b.t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		b.t.Fatal(err)
	}
	dir := b.t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ntouch %[1]s/came\nuntil [ -e %[1]s/go ]; do sleep 0.02; done\n"+
		"exec %[2]s \"$@\"\n", dir, path)
	if err := os.Chmod(flow.WriteFile(b.t, dir, tool, script), 0o755); err != nil {
		b.t.Fatal(err)
	}
	came = func() bool { _, err := os.Stat(filepath.Join(dir, "came")); return err == nil }
	goOn = func() { flow.WriteFile(b.t, dir, "go", "") }
	return b.start("up", "PATH="+dir+":"+os.Getenv("PATH")), came, goOn
}

// start begins a bed.sh.
func (b *bed) start(command string, env ...string) *flow.Process {
	cmd := exec.Command("../../deploy/systemd/bed.sh", command)
	cmd.Env = append(append(os.Environ(), b.env...), env...)
	return flow.Start(b.t, cmd)
}
