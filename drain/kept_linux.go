package drain

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/proc"
	"github.com/baton-go/baton/drain/internal/process"
)

// kept is a generation, as the keeper sees it. It may be no child of the keeper but of an older generation.
type kept struct {
	pid int
	fd  int // pidfd, or -1 where the kernel has none (before 5.3)
}

func newKept(pid int) *kept {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		fd = -1
	}
	return &kept{pid, fd}
}

func (g *kept) close() bool {
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
	}
	return true
}

func (g *kept) signal(sig os.Signal) error {
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
func (g *kept) alive() bool {
	if g.fd < 0 {
		return proc.Alive(g.pid)
	}
	return !g.ends(0)
}

// ends waits until it has exited, at most for the time given, and tells whether it has.
func (g *kept) ends(within time.Duration) bool {
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

// exitCode asks the kernel for the exit code of a process that another one has reaped, which it tells from 6.15 on.
func (g *kept) exitCode() (code int, known bool) {
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

// exitCode is what a shell makes of it.
func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// farEnd is what a keeper has passed to this process, generation 1. It is taken before the program can start
// processes, which must not inherit it or take themselves for generations.
var farEnd, farEndErr = takeFarEnd()

func takeFarEnd() (*os.File, error) {
	var keeper, fd int
	told, ok := os.LookupEnv(process.KeeperEnv)
	if !ok {
		return nil, nil
	}
	_ = os.Unsetenv(process.KeeperEnv)
	outlivePipes() // it may log before New
	if _, err := fmt.Sscanf(told, "%d %d", &keeper, &fd); err != nil || keeper != os.Getppid() {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || fd < 3 || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, fmt.Errorf("drain: %s is %q, but descriptor %d is no socket of the keeper's; unset "+
			"it to start without a keeper", process.KeeperEnv, told, fd)
	}
	unix.CloseOnExec(fd)
	process.OutliveReaders()
	// The keeper could not know the pid. It is the process that was meant.
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if os.Getenv(name) == strconv.Itoa(keeper) {
			_ = os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	return os.NewFile(uintptr(fd), "keeper"), nil
}

// keeper returns the far end, or nil if there is no keeper, and passes it on to the generations to come.
func (sys *system) keeper() (*os.File, error) {
	if sys.inherits {
		return sys.files.File(keeperName) // which is passed on by that
	}
	if farEnd == nil {
		return nil, farEndErr
	}
	return farEnd, sys.files.AddFile(keeperName, farEnd)
}
