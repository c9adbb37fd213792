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
func (s *Service) manageSockets() {
	var files []*os.File
	others := 0
	var err error
	if !s.os.inherits { // or the variables are left by a version that did not know of them
		files, others, err = sdnotify.PassedSockets()
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	if err != nil {
		s.cfg.Logger.Warn("passed sockets are left alone", "err", err)
	}
	if others > 0 {
		s.cfg.Logger.Warn("LISTEN_FDS promises descriptors that are no passed sockets; they are left alone",
			"of these", others)
	}
	var to listener.Store
	if st, ok := sdnotify.TheStore(); ok {
		to = st
	}
	s.set.Manage(to, s.os.held, files)
}

// storeWait is how long the loop waits for the store of a service manager.
const storeWait = 200 * time.Millisecond

// keepSockets has the service manager hold what this process listens on, from when it is the main one: others don't get
// a hearing under NotifyAccess=main. A stop leaves the store alone, or "systemctl restart" would close the port.
//
// A manager that reads has it all before READY=1. One that does not holds this up for a moment, and
// the rest goes on without.
func (s *Service) keepSockets() {
	kept := make(chan func(), 1)
	go func() {
		unused, err := s.set.Keep()
		kept <- func() {
			if len(unused) > 0 {
				s.tell(slog.LevelWarn, "passed sockets that nobody listens on are closed", nil, "unused",
					strings.Join(unused, ", "))
			}
			if err != nil {
				s.tell(slog.LevelWarn, "the service manager's store does not hold every socket", err)
			}
		}
	}()
	select {
	case say := <-kept:
		say()
	case <-time.After(storeWait):
		go func() { s.call(<-kept) }()
	}
}
