package drain

import (
	"log/slog"
	"os"

	"github.com/baton-go/baton/drain/internal/later"
)

// What a service says, it says in log lines, in events and to a service manager. Each has a queue
// with a goroutine of its own: the program's code and a reader that has stopped block there, and
// the loop, which only puts into them, goes on.

// emitter is what a service says to the program and its log.
type emitter struct {
	lines   *later.Handler // behind Config.Logger
	events  later.Queue    // of calls of Config.OnEvent
	onEvent func(Event)    // nil: none
}

// newEmitter returns a logger, too, that never blocks, and whose lines name the process.
func newEmitter(log *slog.Logger, onEvent func(Event)) (*emitter, *slog.Logger) {
	v := &emitter{lines: later.NewHandler(log.Handler()), onEvent: onEvent}
	return v, slog.New(v.lines).With("pid", os.Getpid())
}

// happened queues an event. Before observe nothing is delivered.
func (v *emitter) happened(e Event) {
	if v.onEvent != nil {
		v.events.Put(func() { v.onEvent(e) })
	}
}

// observe lets events be delivered. It is called when New has returned: OnEvent may use the variable that the program
// keeps the Service in.
func (v *emitter) observe() { v.events.Start() }

// dropped are the log lines that the logger did not take.
func (v *emitter) dropped() int64 { return v.lines.Dropped() }
