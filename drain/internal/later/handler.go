package later

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// What waits for the next handler at most. A line that does not fit is dropped and counted.
const (
	maxLines = 1024
	maxBytes = 1 << 20 // of messages and strings in attributes
)

// Handler is a slog.Handler that never blocks. It passes each record on to the next handler, in
// order, on one goroutine; all methods of the next handler are called there. So Enabled does not
// know what the next handler wants, and returns true.
//
// Where records were dropped, a line says how many, once the next handler takes lines again.
type Handler struct {
	*lines
	next   slog.Handler // called in the queue only
	parent *Handler     // what this one was derived from, by what follows; or nil
	attrs  []slog.Attr
	group  string
}

// lines are what waits, of a Handler and all that are derived from it.
type lines struct {
	queue Queue

	mu      sync.Mutex // guards what follows
	waiting int
	bytes   int
	gap     *gap // the last thing in the queue, or nil
	dropped int64
}

// gap stands in the queue for records that were dropped there.
type gap struct {
	since time.Time
	lines int64
}

// NewHandler returns a Handler that passes on to next.
func NewHandler(next slog.Handler) *Handler {
	h := &Handler{lines: &lines{}, next: next}
	h.queue.Start()
	return h
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler. The attributes go into each record, behind its own. The next handler's WithAttrs
// is not used: in a type that embeds a slog.Handler, it returns the embedded one, and what the type adds is lost.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{lines: h.lines, next: h.next, parent: h, attrs: slices.Clone(attrs)}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &Handler{lines: h.lines, next: h.next, parent: h, group: name}
}

// whole returns a copy of r with what h adds to it.
func (h *Handler) whole(r slog.Record) slog.Record {
	attrs := make([]slog.Attr, 0, r.NumAttrs()+2)
	r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, readable(a)); return true })
	for ; h != nil; h = h.parent {
		attrs = append(attrs, h.attrs...)
		if h.group != "" && len(attrs) > 0 {
			attrs = []slog.Attr{{Key: h.group, Value: slog.GroupValue(attrs...)}}
		}
	}
	all := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	all.AddAttrs(attrs...)
	return all
}

// Handle implements slog.Handler. Its error is always nil: see Dropped.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	size := sizeOf(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting >= maxLines || h.bytes+size > maxBytes {
		h.drop(r.Time)
		return nil
	}
	h.waiting++
	h.bytes += size
	h.gap = nil
	ctx, r = context.WithoutCancel(ctx), h.whole(r)
	h.queue.Put(func() { h.write(ctx, r, size) })
	return nil
}

// write has the next handler write r, and counts it if that fails. A panic there is a failure too, or a log with a bug
// would end the process.
func (h *Handler) write(ctx context.Context, r slog.Record, size int) {
	dropped := true // also by runtime.Goexit
	defer func() {
		_ = recover()
		h.mu.Lock()
		defer h.mu.Unlock()
		if dropped {
			h.dropped++
		}
		h.waiting--
		h.bytes -= size
	}()
	dropped = h.next.Enabled(ctx, r.Level) && h.next.Handle(ctx, r) != nil
}

// drop counts a record that does not fit.
func (h *Handler) drop(at time.Time) {
	h.dropped++
	if h.gap == nil {
		here := &gap{since: at}
		h.gap = here
		h.queue.Put(func() { h.report(here) })
	}
	h.gap.lines++
}

// report says what is missing in this place.
func (h *Handler) report(here *gap) {
	h.mu.Lock()
	if h.gap == here {
		h.gap = nil
	}
	r := slog.NewRecord(here.since, slog.LevelWarn, "log lines dropped here: what reads the log was too slow", 0)
	r.AddAttrs(slog.Int64("lines", here.lines), slog.Int64("dropped", h.dropped))
	h.mu.Unlock()
	defer func() { _ = recover() }() // as in write; this line is not counted
	if h.next.Enabled(context.Background(), r.Level) {
		_ = h.next.Handle(context.Background(), h.whole(r))
	}
}

// Dropped is how many records were not written: because they did not fit, or because the next handler has failed, or
// panicked. A nil Handler has dropped none.
func (h *Handler) Dropped() int64 {
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}

// Flush waits until what was logged before is written, and reports whether it is: the end of ctx ends the waiting.
func (l *lines) Flush(ctx context.Context) bool { return l.queue.Flush(ctx) }

// sizeOf does not ask values for their text, which would run code of others.
func sizeOf(r slog.Record) int {
	n := len(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindString {
			n += len(a.Value.String())
		}
		return true
	})
	return n
}
