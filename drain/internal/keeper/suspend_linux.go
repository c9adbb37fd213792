package keeper

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
)

// suspend stops the keeper, for which the shell waits, when the terminal has stopped the generations, as Ctrl-Z does.
func (k *keeper) suspend(pid int, by syscall.Signal) {
	if process.Group(pid) != process.Group(k.main.pid) {
		return
	}
	switch by {
	case unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	}
}

// resume lets generations in a process group of their own go on, in the foreground if the keeper is there.
func (k *keeper) resume() bool {
	group := process.Group(k.main.pid)
	if group == 0 || group == unix.Getpgrp() {
		return false
	}
	if process.Foreground(0) {
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, group)
	}
	return unix.Kill(-group, unix.SIGCONT) == nil
}
