package drain

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/baton-go/baton/drain/internal/sdnotify"
	"github.com/baton-go/baton/listener"
)

// manageSockets takes the descriptors that a service manager has passed, from a .socket unit or its
// store: see sd_listen_fds(3). They go to the first generation; the next ones have them from
// tableflip, which passes its own from 3 on. The variables are unset, so that no child takes what
// is there in its place for passed sockets.
func manageSockets(sys *system, set *listener.Set, log *slog.Logger) {
	var files []*os.File
	others := 0
	var err error
	if !sys.inherits { // or the variables are left by a version that did not know of them
		files, others, err = sdnotify.PassedSockets()
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	if err != nil {
		log.Warn("invalid LISTEN_FDS: passed sockets are not used", "err", err)
	}
	if others > 0 {
		log.Warn("LISTEN_FDS counts descriptors that are not passed sockets; they are not used", "count", others)
	}
	var to listener.Store
	if st, ok := sdnotify.TheStore(); ok {
		to = st
	}
	set.Manage(to, sys.held, files)
}

// storeWait is how long the loop waits for the store of a service manager.
const storeWait = 200 * time.Millisecond

// storePart has the service manager hold what this process listens on, from when it is the main one: others don't get
// a hearing under NotifyAccess=main. A stop leaves the store alone, or "systemctl restart" would close the port.
//
// A manager that reads has it all before READY=1 of the first generation. One that does not holds
// that up for a moment, and the rest goes on without.
func storePart(set *listener.Set, first bool, in inbox) part {
	return part{acquire: func() {
		kept := make(chan struct{})
		go func() {
			unused, err := set.Keep()
			close(kept)
			if len(unused) > 0 {
				in.post(trouble{EventSocketsClosed, slog.LevelWarn,
					"unused passed sockets are closed", nil,
					[]any{"unused", strings.Join(unused, ", ")}})
			}
			if err != nil {
				in.post(trouble{EventStoreLacking, slog.LevelWarn,
					"the service manager's store does not hold every socket", err, nil})
			}
		}()
		if first {
			select {
			case <-kept:
			case <-time.After(storeWait):
			}
		}
	}}
}
