package h2drain

import (
	"io"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/h2state"
)

// opening is a connection that goes on from another process, until the server here is where the
// other one was. Until then the server reads nothing of the client's, and the client gets nothing
// of the server's.
type opening struct {
	*h2state.Opening // guarded by Conn.writing, but for what Spends looks at
	grace            time.Duration
	step             int           // the reader's
	begun            chan struct{} // closed when Begin is done
	done             chan struct{} // closed when the client may be served, or never will
	once             sync.Once     // closes begun
	over             sync.Once     // closes done
}

// Resume makes f, whose server has read as much of the preface as New was told and nothing else, go
// on from s. A client that may do what the server does not permit, because of other settings, is
// told to leave, with grace.
func (f *Conn) Resume(s h2state.State, grace time.Duration) {
	f.extra = []byte(h2frame.Preface[len(h2frame.Preface)-f.in.Preface:])
	f.in, f.out = h2frame.Resumed(s.Last), h2frame.Resumed(0)
	f.watch(s.Halves())
	f.place.Store(f.in.Place())
	f.opening.Store(&opening{Opening: h2state.NewOpening(s), grace: grace, begun: make(chan struct{}),
		done: make(chan struct{})})
}

// Opens tells whether the connection is not where it was elsewhere yet.
func (f *Conn) Opens() bool { return f.opening.Load() != nil }

// Answer answers a request that is none of the client's, and reports whether it is one.
func (f *Conn) Answer(w io.Writer) bool {
	o := f.opening.Load()
	if o != nil {
		_, _ = w.Write(make([]byte, o.Spends()))
	}
	return o != nil
}

// next is what the server is to read next, nothing where it closes or has all.
func (o *opening) next(f *Conn) []byte {
	switch o.step++; o.step {
	case 1:
		return o.Begin()
	case 2:
		<-o.begun
		f.writing.Lock()
		defer f.writing.Unlock()
		if !o.Begun() {
			return nil
		}
		return o.Go()
	}
	<-o.done
	return nil
}

// hear is told what the server writes, and returns what follows the opening. It is called with Conn.writing held.
func (o *opening) hear(f *Conn, p []byte) (rest []byte) {
	rest = o.Hear(p)
	if o.Begun() || o.Failed() {
		o.once.Do(func() { close(o.begun) })
	}
	switch {
	case o.Failed():
		rest = nil
	case o.Done():
		if words := o.Words(); len(words) > 0 {
			_, f.broken = f.pass(words)
		}
		_ = f.SetReadDeadline(time.Time{}) // of a server that took the connection for one that has just begun
		f.opening.Store(nil)
		o.over.Do(func() { close(o.done) })
		if o.Tighter() {
			go f.Leave(o.grace)
		}
	}
	return rest
}

// end is told that the server closes instead. The client learns that nothing of what it has sent
// since was read, which end reports.
func (o *opening) end(f *Conn) (said bool) {
	if f.writing.TryLock() { // or the client is about to get what it is told at the end of the opening
		if f.opening.Load() == o && f.broken == nil {
			_, f.broken = f.pass(h2frame.GoAway(o.Last))
			said = f.broken == nil
		}
		f.writing.Unlock()
	}
	o.once.Do(func() { close(o.begun) })
	o.over.Do(func() { close(o.done) })
	return said
}
