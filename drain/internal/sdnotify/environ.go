package sdnotify

import (
	"fmt"
	"os"
	"strconv"

	"github.com/baton-go/baton/drain/internal/process"
)

// passedBy is what a service manager has said in the environment that this process was started with.
// A program may have cleared it, or loaded another, before New.
type passedBy struct {
	socket                    string // NOTIFY_SOCKET
	execPID                   string // SYSTEMD_EXEC_PID
	listenPID, fds, names     string
	watchdogPID, watchdogUsec string
}

var passed = passedBy{
	socket:       process.Getenv("NOTIFY_SOCKET"),
	execPID:      process.Getenv("SYSTEMD_EXEC_PID"),
	listenPID:    process.Getenv("LISTEN_PID"),
	fds:          process.Getenv("LISTEN_FDS"),
	names:        process.Getenv("LISTEN_FDNAMES"),
	watchdogPID:  process.Getenv("WATCHDOG_PID"),
	watchdogUsec: process.Getenv("WATCHDOG_USEC"),
}

// Instead makes what was meant for another process this one's: for a keeper, which could not know the pid.
func Instead(of, pid int) {
	for _, p := range []*string{&passed.listenPID, &passed.watchdogPID} {
		if *p == strconv.Itoa(of) {
			*p = strconv.Itoa(pid)
		}
	}
}

// Told tells whether systemd has started this process, follows it by its number, and hears of the next ones. Another
// manager that has a NOTIFY_SOCKET may heed READY=1 alone, or wait for the parent of this process.
func Told() bool {
	parent, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	direct := passed.execPID == strconv.Itoa(os.Getpid()) || // not before version 248
		passed.execPID == "" && string(parent) == "systemd\n"
	return direct && Socket() != ""
}

// Deaf tells whether systemd follows this process by its number and would hear of no other, as in a unit of Type=simple
// without NotifyAccess=. Systemd says whom it has started from version 248 on: SYSTEMD_EXEC_PID in systemd.exec(5).
func Deaf() bool { return passed.execPID == strconv.Itoa(os.Getpid()) && Socket() == "" }
