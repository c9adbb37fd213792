package sdnotify

import (
	"strconv"

	"github.com/baton-go/baton/drain/internal/process"
)

// passedBy is what a service manager has said in the environment that this process was started with.
// A program may have cleared it, or loaded another, before New.
type passedBy struct {
	socket                    string // NOTIFY_SOCKET
	listenPID, fds, names     string
	watchdogPID, watchdogUsec string
}

var passed = passedBy{
	socket:       process.Getenv("NOTIFY_SOCKET"),
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
