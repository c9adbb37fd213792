//go:build unix

package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// startDir is where the process was started, and where tableflip starts the next; binary is what it was started by. Both
// are found before the program can change its working directory.
var (
	startDir, _       = os.Getwd()
	binary, binaryErr = findBinary(os.Args[0])
)

// findBinary returns the absolute path that this process was started by. Symlinks are left in it, so that a link which
// points to a new version deploys it.
func findBinary(arg0 string) (string, error) {
	path := arg0
	if !strings.Contains(arg0, "/") {
		var err error
		path, err = exec.LookPath(arg0)
		if err != nil && !errors.Is(err, exec.ErrDot) {
			return "", fmt.Errorf("drain: can't find the binary of this process (%q) for later swaps: %w; start it by its path", arg0, err)
		}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(startDir, path)
	}
	return path, nil
}

// preflight finds what makes a start impossible, while there is nothing to undo.
func preflight(binary string) error {
	info, err := os.Stat(binary)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("preflight: %s is missing; put the new binary there, by rename", binary)
	case err != nil:
		return fmt.Errorf("preflight: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("preflight: %s is not a regular file (%s)", binary, info.Mode())
	case unix.Access(binary, unix.X_OK) != nil:
		return fmt.Errorf("preflight: %s is not executable by this user (%s); chmod +x it", binary, info.Mode())
	case info.Size() == 0:
		return fmt.Errorf("preflight: %s is empty; copy beside it and rename", binary)
	case os.Geteuid() == 0 && info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("preflight: %s may be written by everybody (%s), and this process is root; chmod o-w it", binary, info.Mode())
	}
	return nil
}

// alive tells whether a process exists. One that has exited but is not yet waited for counts as gone where /proc tells, and
// so does the number of a thread: in a container the threads of PID 1 get the numbers that processes had before.
func alive(pid int) bool {
	if pid <= 0 || pid > math.MaxInt32 { // the kernel would heed the lower half alone
		return false
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		const threads = 17 // num_threads of proc(5), from the state on: a zombie's others may still be at their exit
		if f := strings.Fields(rest); len(f) > threads && f[0] == "Z" && f[threads] == "1" {
			return false
		}
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		if _, rest, ok := strings.Cut(string(status), "\nTgid:\t"); ok && !strings.HasPrefix(rest, fmt.Sprintf("%d\n", pid)) {
			return false
		}
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// command is " (name)" of a process, where it can be known.
func command(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(comm)) + ")"
}
