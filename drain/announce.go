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
// meanwhile.
func (sw *swap) announce(in inbox, m *manager, set *listener.Set, e *estate, log *slog.Logger) {
	defer close(sw.settled)
	select {
	case <-sw.able:
	case <-sw.gone:
	case <-time.After(ableTime):
	}
	able := ableOver{sw, make(chan bool, 1)}
	if !in.post(able) || !<-able.reply {
		return
	}
	if err := m.announce(sw.generation, sw.pid, sw.gone); err != nil {
		log.Warn("the service manager does not answer: it may not know the new main process", "err", err)
	}
	ctx, done := context.WithTimeout(context.Background(), killGrace)
	defer done()
	set.PauseReads(ctx) // before the child begins to read
	if err := sw.release(e); err != nil {
		in.post(machine.NotReleased{Attempt: sw.attempt, Why: err.Error()})
		return
	}
	in.post(announced{sw})
}

// release lets the owners of this generation release for the child.
func (sw *swap) release(e *estate) (err error) {
	ctx, done := context.WithCancel(sw.ctx)
	defer done()
	go func() {
		select {
		case <-sw.gone: // for nobody
			done()
		case <-ctx.Done():
		}
	}()
	var names []string
	if sw.peer.can(canOwn) {
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
