//go:build unix

package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
)

// preflight finds what makes a start impossible, while there is nothing to undo: what is wrong with the binary, or with
// the folder to start it in.
func preflight(binary, dir string) error {
	switch folder, err := os.Stat(dir); {
	case dir == "":
		return errors.New("preflight: the working folder was gone when this process started; start the " +
			"service in one that stays")
	case err != nil:
		return fmt.Errorf("preflight: the working folder %s: %w; the next generation is started where "+
			"this one was: put a folder, or a link to one, there", dir, err)
	case !folder.IsDir():
		return fmt.Errorf("preflight: the working folder %s is no folder; the next generation is started "+
			"where this one was", dir)
	}
	info, err := os.Stat(binary)
	switch {
	case binary == "":
		return fmt.Errorf("preflight: no path leads to the binary of this process (%s); start it by its "+
			"path", process.Self.Args)
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
		return fmt.Errorf("preflight: %s may be written by everybody (%s), and this process is root; "+
			"chmod o-w it", binary, info.Mode())
	}
	return nil
}

// alive tells whether a process exists. One that has exited but is not yet waited for counts as
// gone where /proc tells, and so does the number of a thread: in a container the threads of PID 1
// get the numbers that processes had before.
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
		if _, rest, ok := strings.Cut(string(status), "\nTgid:\t"); ok &&
			!strings.HasPrefix(rest, fmt.Sprintf("%d\n", pid)) {
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
