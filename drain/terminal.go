package drain

import (
	"os"
	"time"
)

// aftermath is for how long a SIGHUP still tells that the terminal has been closed: the shell passes it on to its jobs,
// and a keeper to the service. Later ones ask for a swap of a service that the terminal has left behind.
const aftermath = 3 * time.Second

// terminal is the controlling terminal of this process. One goroutine uses it.
type terminal struct {
	look   <-chan time.Time // when to look whether it is closed; nil: the process was started without one
	closed time.Time        // when it was found closed
}

func openTerminal() (t terminal, stop func()) {
	if there, _ := atTerminal(); !there {
		return t, func() {}
	}
	ticker := time.NewTicker(time.Second)
	t.look = ticker.C
	return t, ticker.Stop
}

func (t *terminal) watch() {
	if _, closed := atTerminal(); closed && t.closed.IsZero() {
		t.closed = time.Now()
	}
}

// hangsUp tells whether a signal says that the terminal is closed.
func (t *terminal) hangsUp(sig os.Signal) bool {
	if t.look == nil || sig != hangup {
		return false
	}
	t.watch()
	return !t.closed.IsZero() && time.Since(t.closed) < aftermath
}
