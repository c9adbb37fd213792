package process

import "golang.org/x/sys/unix"

func dupTo(from, to int) error { return unix.Dup3(from, to, unix.O_CLOEXEC) }

// awaitExit returns when a child has exited, and tells whether it is there still, to be reaped.
func awaitExit(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// dupOnto makes to another name of from, which programs that are started inherit.
func dupOnto(from, to int) error { return unix.Dup3(from, to, 0) }
