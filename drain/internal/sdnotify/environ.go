package sdnotify

import "strconv"

// passedBy is what a service manager has said in the environment that this process was started with. A program may have
// cleared it, or loaded another, before New.
type passedBy struct {
	socket                    string // NOTIFY_SOCKET
	listenPID, fds, names     string
	watchdogPID, watchdogUsec string
}

var passed = takePassed()

func takePassed() passedBy {
	return passedBy{
		socket:    getenv("NOTIFY_SOCKET"),
		listenPID: getenv("LISTEN_PID"), fds: getenv("LISTEN_FDS"), names: getenv("LISTEN_FDNAMES"),
		watchdogPID: getenv("WATCHDOG_PID"), watchdogUsec: getenv("WATCHDOG_USEC"),
	}
}

// Instead makes what was meant for another process this one's: for a keeper, which could not know the pid.
func Instead(of, pid int) {
	for _, p := range []*string{&passed.listenPID, &passed.watchdogPID} {
		if *p == strconv.Itoa(of) {
			*p = strconv.Itoa(pid)
		}
	}
}
