package drain

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/baton-go/baton/drain/internal/later"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// A service speaks by log lines, by events and to a service manager. Each has a queue with a goroutine of its own,
// where the program's code, or a reader that has stopped, may block. The loop only puts into the queues, and goes on.

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

// lines are log lines that are no events, and what the loop keeps of those it has written.
type lines struct {
	*slog.Logger
	said  map[string]bool // what is not repeated
	heard *machine.Heard  // the signal that the present event is, until a line names it; nil: none
}

func (l *lines) log(e machine.Log) {
	if e.Once {
		if l.said[e.Message] {
			e.Level = slog.LevelDebug
		}
		l.said[e.Message] = true
	}
	l.Log(context.Background(), e.Level, e.Message, l.by(e.Attrs)...)
}

// by makes the first line that a signal brings about name it.
func (l *lines) by(attrs []any) []any {
	if h := l.heard; h != nil {
		l.heard = nil
		return append([]any{"signal", h.Signal}, attrs...)
	}
	return attrs
}

// nameSignal writes a line about a signal that no other line has named.
func (l *lines) nameSignal() {
	if l.heard != nil {
		l.log(machine.Log{Message: "signal", Attrs: []any{"command", string(l.heard.Verb)}})
	}
}

// open are the connections that are open, by what they do.
func open(n listener.Counts) []any {
	counts := []any{"open", n.Open()}
	for _, s := range states(n) {
		counts = append(counts, s.name, s.count)
	}
	return some(counts...)
}

// some leaves out the counts that are 0.
func some(counts ...any) (left []any) {
	for i := 0; i < len(counts); i += 2 {
		if n := counts[i+1]; n != 0 && n != int64(0) {
			left = append(left, counts[i], n)
		}
	}
	return left
}

// edition names a generation in the lines that sum something up.
func edition(key string, generation, pid int, version string) slog.Attr {
	about := some("generation", generation, "pid", pid)
	if version != "" {
		about = append(about, "version", version)
	}
	return slog.Group(key, about...)
}

// buildVersion is that of the main module, or the revision that it was built from; "" where the build has neither.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + modified
}
