//go:build linux

package flow

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

var hosts atomic.Int32

// Host returns a loopback address that is this test's own, so that it may
// choose its ports.
func Host() string {
	pid, n := os.Getpid(), int(hosts.Add(1))
	// Three bytes for the process and its tests; 127.0.x.x is left to others.
	return fmt.Sprintf("127.%d.%d.%d", 1+(pid>>7)%250, (pid&0x7f)<<1|n>>7&1, 1+n%127)
}

// Process is a balancer, or whatever else stays in the foreground.
type Process struct {
	*exec.Cmd
	Log    string // the path of its output
	ended  chan struct{}
	result error // valid once ended is closed
}

// Start runs cmd until the end of the test, and shows its output if that fails.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), filepath.Base(cmd.Path)+".*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &Process{Cmd: cmd, Log: out.Name(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.result = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.End()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), p.Output())
		}
	})
	return p
}

// Contain returns a command that runs another one as PID 1 of a pid namespace, of which nothing is left after its end.
func Contain(t testing.TB, command ...string) *exec.Cmd {
	t.Helper()
	Root(t)
	unshare := Tool(t, "unshare", "apt-get install util-linux")
	args := []string{"--pid", "--fork", "--mount-proc", "--kill-child", "--"}
	return exec.Command(unshare, append(args, command...)...)
}

// Child is the pid of a process's only child, or 0. Of what Contain starts that is PID 1, as it is seen from outside.
func Child(pid int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	child, _ := strconv.Atoi(strings.TrimSpace(string(children)))
	return child
}

// End ends the process at once, and waits for it.
func (p *Process) End() {
	_ = p.Process.Kill()
	<-p.ended
}

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Output is what the process has said so far.
func (p *Process) Output() string {
	out, _ := os.ReadFile(p.Log)
	return string(out)
}

// Answers waits until somebody listens on the address, and fails when the process is gone before.
func (p *Process) Answers(t testing.TB, addr string) {
	t.Helper()
	Eventually(t, filepath.Base(p.Path)+" listens on "+addr, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("%s: %v\n%s", p.Path, p.result, p.Output())
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Run runs a command to its end, and returns what it said and its exit code.
// A file and no pipe takes the output: waiting for the end of a pipe would
// hide a service that has kept a script's output open.
func Run(t testing.TB, cmd *exec.Cmd) (string, int) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), filepath.Base(cmd.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%s: %v", cmd, err)
	}
	said, _ := os.ReadFile(out.Name())
	return string(said), cmd.ProcessState.ExitCode()
}

// WriteFile writes a configuration into dir and returns its path.
func WriteFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Dir returns a folder with a short name: socket paths are cut at 107 bytes.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Alive tells whether a process lives: a zombie does not.
func Alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// killUnder ends what runs from a folder, whichever generation it is.
func killUnder(dir string, sig syscall.Signal) {
	for _, pid := range Running(dir + "/") {
		_ = syscall.Kill(pid, sig)
	}
}
