//go:build unix

package main

import (
	"syscall"
	"time"
)

// reap asks, without waiting, how a process ended. It is gone when it was ours and has been reaped now, or when it
// does not exist; the code is seen in the first case only.
func reap(pid int) (code int, seen, gone bool) {
	var ws syscall.WaitStatus
	got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
	switch {
	case err == nil && got == pid && ws.Signaled():
		return -int(ws.Signal()), true, true
	case err == nil && got == pid && ws.Exited():
		return ws.ExitStatus(), true, true
	case err == syscall.ECHILD:
		return 0, false, syscall.Kill(pid, 0) == syscall.ESRCH
	}
	return 0, false, false
}

// pollExit waits for the end of a process where the kernel has no better way.
func pollExit(pid int) (code int, seen bool) {
	for {
		if code, seen, gone := reap(pid); gone {
			return code, seen
		}
		time.Sleep(time.Millisecond)
	}
}
