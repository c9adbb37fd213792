package keeper

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// passedOn is the name under which each generation passes the far end on to the next.
const passedOn = "baton-keeper"

// farEnd is what a keeper has passed to this process, generation 1. It is taken before the program can
// start processes, which must not inherit it or take themselves for generations.
var farEnd, farEndErr = takeFarEnd()

func takeFarEnd() (*os.File, error) {
	var keeper, fd int
	told := process.Getenv(process.KeeperEnv)
	if told == "" {
		return nil, nil
	}
	_ = os.Unsetenv(process.KeeperEnv)
	process.OutliveBrokenPipes() // it may log before New
	if _, err := fmt.Sscanf(told, "%d %d", &keeper, &fd); err != nil || keeper != os.Getppid() && !madeBy(keeper, fd) {
		return nil, nil
	}
	if fd < 3 || !process.PassedSocket(fd) {
		return nil, fmt.Errorf("drain: %s is %q, but descriptor %d is no socket of the keeper's; unset "+
			"it to start without a keeper", process.KeeperEnv, told, fd)
	}
	unix.CloseOnExec(fd)
	// The keeper did not know the pid of this process when it was started.
	sdnotify.Instead(keeper, os.Getpid())
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if os.Getenv(name) == strconv.Itoa(keeper) {
			_ = os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	return os.NewFile(uintptr(fd), "keeper"), nil
}

// madeBy tells whether a socket is of a pair that the keeper has made. One that was killed in the meantime is no parent
// any more, and this process is to stop like every generation of it.
func madeBy(keeper, fd int) bool {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(peer.Pid) == keeper
}

// File returns the far end, or nil if there is no keeper, and passes it on to the generations to come.
func File(files *process.Files) (*os.File, error) {
	if process.Started() {
		return files.File(passedOn) // that passes it on, too
	}
	if farEnd == nil {
		return nil, farEndErr
	}
	return farEnd, files.AddFile(passedOn, farEnd)
}
