package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes the tour the parent of processes whose parent has ended. Every generation but the first is one
// sooner or later, and only a parent learns an exit code.
func adoptOrphans() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// watchExit takes hold of a process and returns a function that waits for its end.
func watchExit(pid int) func() (code int, seen bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return func() (int, bool) { return pollExit(pid) }
	}
	return func() (int, bool) {
		defer unix.Close(fd)
		for {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err == nil {
				break
			} else if err != unix.EINTR {
				return pollExit(pid)
			}
		}
		if code, seen, _ := reap(pid); seen {
			return code, true
		}
		// Its parent may be ending too, and have left it to us a moment later.
		time.Sleep(20 * time.Millisecond)
		code, seen, _ := reap(pid)
		return code, seen
	}
}
