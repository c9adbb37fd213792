package drain

import (
	"log/slog"
	"syscall"
	"time"
)

// An older generation whose Run has returned keeps its link until its process exits: main may go on.

// exitTick is the time between two looks at such processes, while something is due.
const exitTick = 100 * time.Millisecond

// exitDue: it is time for another look.
type exitDue struct{}

// watchExits names the processes that have not exited in time. It is due where a swap waits for room.
func (g *generations) watchExits(in inbox, due bool,
	tell func(kind EventKind, level slog.Level, message string, err error, attrs ...any),
) {
	for _, e := range g.older {
		switch {
		case e.Phase != Stopped || e.named:
		case time.Since(e.Since) < killGrace:
			due = true
		default:
			e.named = true
			tell(EventOlderRemains, slog.LevelWarn, "older generation has not exited: its Run has returned, but main "+
				"goes on; let main return", nil, edition("older", e.Generation, e.PID, ""), "since", e.Since)
		}
	}
	if due && time.Now().After(g.look) {
		g.look = time.Now().Add(exitTick)
		time.AfterFunc(exitTick, func() { in.post(exitDue{}) })
	}
}

// end makes the process of a generation exit whose Run has returned. It is called again and again, and tells whether
// it has just begun.
func (e *elder) end(all processes) bool {
	switch {
	case time.Since(e.Since) < lastWords: // perhaps it is about to
	case e.asked.IsZero():
		e.asked, e.Hurried = time.Now(), true
		all.signal(e.PID, syscall.SIGTERM, e.lives)
		return true
	case time.Since(e.asked) >= killGrace:
		all.signal(e.PID, syscall.SIGKILL, e.lives)
	}
	return false
}

// lives tells whether its process exists: the link lives as long.
func (e *elder) lives() bool { return !e.link.Hung() }
