package drain

import "log/slog"

// inbox is how all else reaches the goroutine that owns the state of a generation: by values. Those
// of package machine are for the machine; a channel is a question, and has room for the answer; the
// others stand where they are made. That goroutine itself must not use it.
type inbox struct {
	events chan any
	ended  chan struct{} // closed when nothing is heeded any more
}

func newInbox() inbox { return inbox{events: make(chan any), ended: make(chan struct{})} }

// post waits until e is taken, and reports whether it is: not after the end. What is taken is heeded
// before anything that is posted later.
func (in inbox) post(e any) bool {
	select {
	case in.events <- e:
		return true
	case <-in.ended:
		return false
	}
}

// settle waits until everything that was taken before is heeded.
func (in inbox) settle() { in.post(nothing{}) }

// nothing has happened.
type nothing struct{}

// trouble is something to tell that went wrong elsewhere.
type trouble struct {
	kind    EventKind
	level   slog.Level
	message string
	err     error
	attrs   []any
}
