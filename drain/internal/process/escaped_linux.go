package process

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// passed names what was passed to one child alone, as /proc/PID/fd does. The kernel gives no name
// to two things that exist.
type passed []string

func passedTo(f *os.File) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", number(f)))
	return name
}

// killHolders kills every other process that has one of these, and reports whether there was one. Of a
// pipe, only a writer counts: this process reads from it, and so does what it forks, until that calls exec.
func (p passed) killHolders() (found bool) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		process, err := os.FindProcess(pid) // holds it by a pidfd: the number can't become another's
		if err != nil {
			continue
		}
		if p.heldBy(pid) && process.Signal(unix.SIGKILL) == nil {
			found = true
			for until := time.Now().Add(time.Second); p.heldBy(pid) && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
		}
		_ = process.Release()
	}
	return found
}

func (p passed) heldBy(pid int) bool {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if err != nil || !slices.Contains(p, name) {
			return false
		}
		return !strings.HasPrefix(name, "pipe:") || writes(pid, fd.Name())
	})
}

// writes tells whether a descriptor is one to write.
func writes(pid int, fd string) bool {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(info), "flags:\t")
	flags, _, _ := strings.Cut(after, "\n")
	n, err := strconv.ParseUint(flags, 8, 64)
	return err == nil && n&unix.O_ACCMODE == unix.O_WRONLY
}
