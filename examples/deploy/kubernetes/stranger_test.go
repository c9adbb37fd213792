//go:build linux

package kubernetes

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

// TestUp: called while half of it runs, once more, interrupted and killed. What it says is what runs, and down leaves
// nothing. In place of Kubernetes there is a process that is ready when the test says so.
func TestUp(t *testing.T) {
	t.Parallel()
	flow.Root(t)
	dir, bin := filepath.Join(t.TempDir(), "a cluster"), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	stands := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != --dump ] || exec %[1]s \"$@\"\n"+
		"exec %[1]s --pdeathsig KILL unshare --pid --fork --kill-child sh -c "+
		"'until [ -e \"$0/go\" ]; do sleep 0.01; done; >\"$0/ready\"; exec sleep 600' \"$DIR\"\n",
		flow.Tool(t, "setpriv", "apt-get install util-linux"))
	if err := os.Chmod(flow.WriteFile(t, bin, "setpriv", stands), 0o755); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(folder("cluster.sh"), args...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DIR="+dir)
		return cmd
	}
	ended := func(code, want int, said, says string, args ...string) {
		t.Helper()
		if code == 77 {
			flow.Missing(t, "a cluster", said)
		}
		if code != want || !strings.Contains(said, says) {
			t.Fatalf("cluster.sh %s: exit code %d, want %d and %q\n%s", args, code, want, says, said)
		}
	}
	do := func(want int, says string, args ...string) {
		t.Helper()
		said, code := flow.Run(t, command(args...))
		ended(code, want, said, says, args...)
	}
	begin := func() *flow.Process {
		t.Helper()
		_ = os.Remove(at("first"))
		p := flow.Start(t, command("up", dir))
		flow.Eventually(t, "half of it runs", func() bool {
			select {
			case <-p.Ended():
				ended(p.ProcessState.ExitCode(), 0, p.Output(), "", "up")
			default:
			}
			first, _ := os.ReadFile(at("first"))
			return len(first) > 0
		})
		return p
	}
	ends := func(p *flow.Process, want int, says string) {
		t.Helper()
		<-p.Ended()
		ended(p.ProcessState.ExitCode(), want, p.Output(), says, "up")
	}
	goOn := func() { flow.WriteFile(t, dir, "go", "") }
	t.Cleanup(func() { _, _ = flow.Run(t, command("down", dir)) })

	do(1, "not up: "+dir, "down", dir)
	do(1, "not up: "+dir, "in", dir, "control", "true")

	// Two at once: both return when the one cluster is ready, which one is interrupted.
	first := begin()
	run, _ := os.ReadFile(at("run.pid"))
	second, third := flow.Start(t, command("up", dir)), flow.Start(t, command("up", dir))
	_ = third.Process.Signal(syscall.SIGTERM)
	<-third.Ended()
	goOn()
	ends(first, 0, "")
	ends(second, 0, "")
	do(0, "", "up", dir)
	if now, _ := os.ReadFile(at("run.pid")); string(now) != string(run) {
		t.Errorf("pid %s runs now, want %s still", now, run)
	}
	do(1, "up already: "+dir, "run", dir)
	do(0, "", "down", dir)
	do(1, "not up: "+dir, "down", dir)
	_ = os.Remove(at("go"))

	// Interrupted it leaves nothing.
	p := begin()
	_ = p.Process.Signal(syscall.SIGINT)
	ends(p, 1, "interrupted: nothing is left")
	do(1, "not up: "+dir, "down", dir)

	// Killed, it leaves a cluster that becomes ready, and the next one waits for that.
	p = begin()
	_ = p.Process.Kill()
	next := flow.Start(t, command("up", dir))
	goOn()
	ends(next, 0, "")
	pid, err := os.ReadFile(at("run.pid"))
	if err != nil {
		t.Fatal(err)
	}
	// After a kill -9 of the cluster itself nothing is up, and no command runs in its place.
	n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
	_ = syscall.Kill(n, syscall.SIGKILL)
	flow.Eventually(t, "it is gone", func() bool { return !flow.Alive(n) })
	do(1, "not up: "+dir, "in", dir, "control", "true")
	do(0, "", "up", dir)
}
