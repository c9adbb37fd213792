package keeper

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/proc"
)

// generation is a process that serves, or did. Its parent is the keeper or an older generation.
type generation struct {
	pid int
	fd  int // pidfd, or -1 where the kernel has none (before 5.3)
}

func newGeneration(pid int) *generation {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return &generation{pid, fd}
}

func (g *generation) close() bool {
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
	}
	return true
}

func (g *generation) signal(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	switch {
	case !ok:
		return fmt.Errorf("no signal of this system: %v", sig)
	case g.fd < 0:
		return unix.Kill(g.pid, n)
	}
	return unix.PidfdSendSignal(g.fd, n, nil, 0)
}

// alive tells whether it has not exited; a zombie has.
func (g *generation) alive() bool {
	if g.fd < 0 {
		return proc.Alive(g.pid)
	}
	return !g.ends(0)
}

// ends waits until it has exited, at most for the time given, and tells whether it has.
func (g *generation) ends(within time.Duration) bool {
	if g.fd < 0 {
		time.Sleep(within)
		return !proc.Alive(g.pid)
	}
	for until := time.Now().Add(within); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}},
			int(max(0, time.Until(until)).Milliseconds()))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

// exitCode asks the kernel for the exit code of a process that another one has reaped: Linux 6.15 and
// later know it.
func (g *generation) exitCode() (code int, known bool) {
	const exited = 1 << 3 // PIDFD_INFO_EXIT
	info := struct {      // pidfd_info of linux/pidfd.h, its first version
		mask, cgroup uint64
		ids          [11]uint32
		status       int32
	}{mask: exited}
	request := 3<<30 | unsafe.Sizeof(info)<<16 | 0xFF<<8 | 11 // PIDFD_GET_INFO
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(g.fd), request, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&exited == 0 {
		return 0, false
	}
	return exitCode(syscall.WaitStatus(info.status)), true
}

// exitCode returns the exit code as a shell does: 128 and the number of the signal that has ended it.
func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
