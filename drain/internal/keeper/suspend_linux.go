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
