package drain

import (
	"context"
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// ableTime is how long a child that is ready may take to say what it speaks: it has said so long
// before. One of a version that says nothing is taken for what it is then.
const ableTime = time.Second

// announce does what takes its time before the child is told that it is the main generation. This one serves on
// meanwhile. It settles before it says so: what the owners have released is the loop's then.
func (sw *swap) announce(in inbox, m *manager, set *listener.Set, e *estate, log *slog.Logger) {
	said := sw.prepare(in, m, set, e, log)
	close(sw.settled)
	if said != nil {
		in.post(said)
	}
}

// prepare returns what announce is to say; nil: nothing, since the swap has come to another end.
func (sw *swap) prepare(in inbox, m *manager, set *listener.Set, e *estate, log *slog.Logger) (said any) {
	select {
	case <-sw.able:
	case <-sw.gone:
	case <-time.After(ableTime):
	}
	able := ableOver{sw, make(chan childAble, 1)}
	if !in.post(able) {
		return nil
	}
	child := <-able.reply
	if !child.wanted {
		return nil
	}
	if err := m.announce(sw.generation, sw.pid, sw.gone); err != nil {
		log.Warn("the service manager does not answer: it may not know the new main process", "err", err)
	}
	ctx, done := context.WithTimeout(context.Background(), killGrace)
	defer done()
	set.PauseReads(ctx) // before the child begins to read
	if err := sw.release(e, child.owns); err != nil {
		return machine.NotReleased{Attempt: sw.attempt, Why: err.Error()}
	}
	return announced{sw}
}

// release lets the owners of this generation release for the child, which says what it owns, or is of a version that
// doesn't.
func (sw *swap) release(e *estate, says bool) (err error) {
	ctx, done := context.WithCancel(sw.ctx)
	defer done()
	go func() {
		select {
		case <-sw.gone: // the child is gone: nothing is to be released for it
			done()
		case <-ctx.Done():
		}
	}()
	var names []string
	if says {
		select {
		case names = <-sw.owns:
		case <-ctx.Done():
			return ctx.Err()
		}
	} else if e.any() {
		e.log.Warn("the next generation knows no owners: it begins with what was saved, while this one goes on",
			"owners", e.owners.Names())
		return nil
	}
	if sw.acquires = len(names) > 0; e.any() {
		sw.bequest, err = e.release(ctx, names)
	}
	return err
}
