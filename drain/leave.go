package drain

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// A generation leaves.

// draining is a drain under way.
type draining struct {
	deadline *time.Timer
	cut      *cutting // nil: nothing is being cut off
}

// cutting is what has not ended by itself.
type cutting struct{ why, connections string }

// workWaited: work has had its time to return.
type workWaited struct{}

// after posts e when that time is over.
func (r *runner) after(d time.Duration, e machine.Event) *time.Timer {
	return time.AfterFunc(d, func() { r.post(e) })
}

// beginDrain takes nothing new and finishes the rest: connections move to the next generation, or close after
// IdleGrace.
func (r *runner) beginDrain(replaced bool) {
	timeout := r.cfg.DrainTimeout
	grace := r.cfg.idleGrace(!replaced)
	var handover listener.Handover
	first := func() {}
	if replaced {
		handover, first = r.swap.handover, r.handOn()
		if !r.swap.peer.can(canTLS) {
			r.set.KeepTLS()
		}
		if !r.swap.peer.can(canHTTP2) {
			r.set.KeepHTTP2OverTLS()
		}
	} else {
		r.os.letGo(true) // else clients would connect to our copies of the listening sockets, and get no answer
		r.health.Down()
	}
	r.work.Drain()
	r.tellSessions(r.cfg.sessionSpread(!replaced))
	r.drain.deadline = r.after(timeout, machine.DeadlineOver{})
	go func() {
		first()
		// An HTTP/2 client that is slow to answer its PINGs, or one that rests while IdleGrace is
		// longer, is not to be cut off.
		late, most := hurried(timeout)
		hurry := time.AfterFunc(late, func() { r.set.Hurry(most) })
		defer hurry.Stop()
		if r.set.Leave(r.ctx, handover, grace) != nil {
			return // cut off
		}
		r.post(machine.Emptied{})
	}()
}

// tellSessions makes the contexts of Draining end within that time, and with a share of it each where share is not 0.
// Where another generation follows, they end when this one accepts nothing more: a client that comes back at once meets
// the other.
func (r *runner) tellSessions(within, share time.Duration) {
	if !r.state.Replaced() {
		r.farewell.Begin(within, share)
		return
	}
	go func() {
		select {
		case <-r.set.Shut():
		case <-r.ctx.Done():
		}
		r.farewell.Begin(within, share)
	}()
}

func (r *runner) hurry(drained bool) {
	r.tellSessions(killGrace/2, 0)
	go r.set.Hurry(killGrace / 2) // it may wait for a lock of a connection
	r.drain.deadline.Stop()
	r.tell(EventHurried, slog.LevelWarn, fmt.Sprintf("told to leave within %v", killGrace), nil)
	if !drained {
		r.drain.deadline = r.after(killGrace, machine.HurryOver{})
	}
}

// cutOff ends what has not ended by itself. Background work has some time to return when no connection is left.
func (r *runner) cutOff(e machine.CutOff) {
	r.drain.cut = &cutting{why: e.Why, connections: cmp.Or(connections(r.set.Counts()), "nothing")}
	for _, o := range r.others.older {
		o.send(message{Kind: kindHurry})
	}
	go func() {
		r.set.Close() // it may wait, as Leave does
		r.work.End()
		r.work.Wait(e.Within)
		r.post(workWaited{})
	}()
}

// cutError says what is cut off.
func (r *runner) cutError() error {
	what := r.left(r.drain.cut.connections)
	if r.state.Gone {
		what = "Config.Gone"
	}
	return akin(fmt.Errorf("drain: %s: cut off %s", r.drain.cut.why, what), ErrCutOff)
}

// left is what is not over yet: connections in words, and what comes to it.
func (r *runner) left(connections string) string {
	var all []string
	if connections != "" {
		all = append(all, connections)
	}
	if names := r.work.Names(); len(names) > 0 {
		all = append(all, "background work: "+strings.Join(names, ", "))
	}
	if len(r.others.older) > 0 {
		all = append(all, "older generations: "+r.others.names())
	}
	return strings.Join(all, "; ")
}

// connections says how many are open; "": none is.
func connections(n listener.Counts) string {
	var open []string
	for _, k := range []struct {
		count int
		name  string
	}{{n.Active, "active"}, {n.New, "new"}, {n.Idle, "idle"}, {n.HTTP2, "HTTP/2"}, {n.Hijacked, "hijacked"},
		{n.Other, "other"}} {
		if k.count > 0 {
			open = append(open, fmt.Sprintf("%d %s", k.count, k.name))
		}
	}
	if len(open) == 0 {
		return ""
	}
	return strings.Join(open, ", ") + " connection(s)"
}

func (r *runner) callGone(hook bool) {
	if r.manager != nil {
		r.manager.extendAgain() // what was asked for last is over with the drain
		r.report()
	}
	if r.state.Owns {
		go func() { r.post(ownersSaved{hook, r.estate.save(r.cfg.DrainTimeout)}) }()
	} else {
		r.callHook(nil)
	}
}

func (r *runner) ownersSaved(e ownersSaved) {
	if e.hook {
		r.callHook(e.err)
	} else {
		r.step(machine.GoneReturned{Err: e.err})
	}
}

// callHook calls Config.Gone. Err is what is wrong already.
func (r *runner) callHook(err error) {
	over := r.hooks.call("Gone", r.cfg.Gone, machine.GoneTime)
	go func() {
		<-over
		r.post(machine.GoneReturned{Err: err})
	}()
}

// closed: what could be open is closed, and all that is left is to say so.
type closed machine.Finish

// finish closes what is open, and ends the parts, which may wait for others, or for a disk.
func (r *runner) finish(e machine.Finish) {
	if r.drain.deadline != nil {
		r.drain.deadline.Stop()
	}
	r.farewell.Begin(0, 0)
	r.killChild(e)
	prepared := r.prepared
	go func() {
		r.set.Close()
		r.work.End()
		r.servers.close()
		if !within(lastWords, func() {
			if prepared != nil {
				<-prepared
			}
			r.parts.end(endingOf(e))
		}) {
			r.cfg.Logger.Warn("a disk does not answer: files of this process may stay behind")
		}
		r.post(closed(e))
	}()
}

// killChild kills the process that was to be the next one.
func (r *runner) killChild(e machine.Finish) {
	if e.Kill && r.swap.child != nil {
		r.swap.child.Kill()
	}
}

func endingOf(e machine.Finish) ending {
	switch {
	case e.Replaced:
		return replaced
	case e.Guest:
		return guest
	}
	return last
}

// conclude is the last thing the loop does.
func (r *runner) conclude(e closed) {
	r.closed = true
	r.killChild(machine.Finish(e)) // it may have started since
	r.last = r.peer()
	level := slog.LevelInfo
	switch {
	case e.Guest && e.Err != nil && r.state.Linked: // the old generation says that as its own: swap failed
		level = slog.LevelDebug
	case e.Err != nil:
		level = slog.LevelError
	}
	r.tell(EventKind(e.Kind), level, e.Message, e.Err, r.sum(e)...)
	r.cancel()
	if r.dieBy != nil {
		r.die(r.dieBy)
	}
}

// sum is what the last line of a generation has: of the swap that replaces it, of the stop, and what it has lost.
func (r *runner) sum(e closed) []any {
	n, now := r.set.Counts(), time.Now()
	about := append([]any{"lost", n.Lost}, some("cut_off", n.CutOff, "part", n.Part, "junk", n.Junk)...)
	switch {
	case e.Replaced:
		sw := r.swap
		about = append(about, "moved", n.Moved, "finished", r.set.Finished(), "took", sw.done.Sub(sw.begun))
		if b := sw.released(); !b.released.IsZero() {
			about = append(about, "paused", sw.done.Sub(b.paused), "handlers", b.still.Sub(b.paused),
				"release", b.released.Sub(b.still), "acquire", sw.done.Sub(b.released))
		}
		return append(about, "drained", now.Sub(sw.done),
			edition("from", r.state.Generation, r.os.pid, r.cfg.Version),
			edition("to", sw.generation, sw.childPID, sw.version))
	case !r.stopped.IsZero():
		return append(about, "finished", r.set.Finished(), "took", now.Sub(r.stopped))
	}
	return about
}

// sayLast waits until the queues and links are empty, for lastWords at most. Another signal to stop ends the wait.
func (r *runner) sayLast() {
	r.emitter.observe()
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		var all sync.WaitGroup
		all.Go(func() { r.reports.close(r.last); r.flush() })
		all.Go(func() { r.emitter.events.Flush(ctx) })
		all.Go(func() { r.manager.flush(ctx) })
		all.Go(func() { r.emitter.lines.Flush(ctx) })
		all.Wait()
		if ctx.Err() == nil {
			r.emitter.lines.Flush(ctx) // what the others had to say
		}
	}()
	for {
		select {
		case <-over:
			return
		case sig := <-r.signals.in:
			if slices.Contains(r.cfg.Signals.Stop, sig) {
				return
			}
		case a := <-r.signals.arrivals: // from take, until that has ended
			if slices.Contains(r.cfg.Signals.Stop, a.Signal) {
				return
			}
		}
	}
}

// flush lets what was sent go out before the process ends. It does not wait for long.
func (r *runner) flush() {
	links := r.others.links()
	if r.swap != nil && r.swap.link != nil {
		links = append(links, r.swap.link)
	}
	var saying sync.WaitGroup
	for _, l := range links {
		saying.Go(func() { l.Flush(lastWords) })
	}
	saying.Wait()
}

// die ends the process by the signal, as if no handler of it were installed.
func (r *runner) die(sig os.Signal) {
	r.manager.close()
	r.sayLast()
	r.os.die(sig)
}
