package process

import "golang.org/x/sys/unix"

// awaitExit returns when a child has exited, and tells whether it is there still, for somebody to reap.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}
