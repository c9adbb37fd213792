package machine

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A generation leaves: pulled, draining, stopped.

// stop begins a stop; a second signal ends everything. Sig is nil where the program itself asks.
func (t *turn) stop(sig os.Signal) {
	switch {
	// The signal is meant for the service: its sender may have read this number in the PID file.
	case t.Successor.Phase == lifecycle.Awaiting || t.Successor.Phase == lifecycle.Acquiring && t.Successor.hasMore():
		t.Later.Add(Stop)
	case t.committing():
		t.keep(Stop) // and heeds it here if the next one doesn't come to serve
	case t.LeaveNow && sig != nil && t.takingBack():
		t.Child.Hasty = true
	case t.LeaveNow && sig != nil:
		t.cutOff("asked twice", 0, false)
	case t.Stopping:
		t.LeaveNow = t.LeaveNow || sig != nil // the first signal, after a stop that was none: see stopOnce
	case t.Phase == Draining:
		t.LeaveNow = true
		t.do(Log{Level: slog.LevelInfo, Message: "already draining; send the signal again to exit now"})
	case t.Phase == Starting && !t.Running && sig != nil:
		t.finish(KindStopped, "stopped before it was ready", nil)
		t.do(Die{sig}) // the program is busy elsewhere and would not hear of it
	case t.Phase == Starting || t.Phase == Probation:
		t.leave()
	case t.Phase == Swapping:
		t.Stopping, t.LeaveNow = true, true
		t.abort("the service is to stop")
		t.pull(KindStopping, "stopping")
	default:
		t.Stopping, t.LeaveNow = true, true
		t.pull(KindStopping, "stopping")
		t.do(AwaitBalancers{})
	}
}

// stopOnce begins a stop that may have come as a signal to this process, too, as the one that ends the
// context of signal.NotifyContext: the two make no second signal.
func (t *turn) stopOnce() {
	if !t.Stopping {
		leaveNow := t.LeaveNow
		t.stop(nil)
		t.LeaveNow = leaveNow
	}
}

func (t *turn) trafficOver() {
	if t.Stopping && t.Phase != Draining {
		t.drain(KindDraining, "draining")
	}
}

// drain takes nothing new and finishes the rest.
func (t *turn) drain(kind Kind, message string) {
	t.enter(Draining, kind, message)
	t.Deadline = t.now.Add(t.DrainTimeout)
	t.do(Drain{Replaced: t.Replaced()})
}

// hurry shortens a drain.
func (t *turn) hurry() {
	if t.Phase != Draining || t.Deadline.Sub(t.now) <= KillGrace { // also where it was told before
		return
	}
	t.Hurried, t.Deadline = true, t.now.Add(KillGrace)
	t.do(Hurry{Drained: t.Drained})
}

// linger returns how long this generation stays at least when it is replaced. A sender is as slow as the machine, and
// so was the start of the new process.
func (s State) linger() time.Duration {
	if s.Child.Took == 0 {
		return MostLinger
	}
	return min(max(s.Child.Took, LeastLinger), MostLinger)
}

// starve ends background work when nothing hands in work any more. Handlers do, those with owners also of requests that
// older generations pass on.
func (t *turn) starve() {
	switch {
	case t.Phase != Draining || !t.Emptied || t.Starved || t.Cutting || t.Gone:
	case t.Owns && !t.Replaced() && t.Older > 0:
		t.do(AwaitOlder{})
	default:
		t.Starved = true
		t.do(EndWork{})
	}
}

// settle ends the drain of this generation, once the older ones have finished too. If a service manager or a container
// follows this process, its end would end them.
func (t *turn) settle() {
	left := t.linger() - t.now.Sub(t.Since)
	switch {
	case t.Phase != Draining || !t.Drained || t.Cutting || t.Gone:
	case t.Older > 0:
		t.do(AwaitOlder{})
	case t.Replaced() && left > 0:
		t.do(Linger{left})
	case t.Replaced():
		t.bow(KindStopped, "swapped", t.Result)
	default:
		t.bow(KindStopped, "stopped", t.Result)
	}
}

// cutOff ends what has not ended by itself. Work has that long to return when no connection is left. Bows: the end
// is in order, and Config.Gone is called.
func (t *turn) cutOff(why string, within time.Duration, bows bool) {
	switch {
	case !t.Cutting:
		t.Cutting, t.cutBows = true, bows
		t.do(CutOff{why, within})
	case within == 0:
		t.do(CutOffNow{})
	}
}

func (t *turn) cutOffDone(err error) {
	if !t.Cutting {
		return
	}
	t.Cutting = false
	err = errors.Join(t.Result, err)
	if t.Gone {
		t.finish(KindCutOff, "cut off", err)
	} else {
		t.part(KindCutOff, "cut off", err, t.cutBows)
	}
}

// bow ends a generation in which nothing is in flight any more.
func (t *turn) bow(kind Kind, message string, err error) { t.part(kind, message, err, true) }

// part ends a generation. Before, the owners save what no other generation has got, and the last one that ends in order
// calls Config.Gone.
func (t *turn) part(kind Kind, message string, err error, orderly bool) {
	t.Result = err
	gone := orderly && t.CallsGone && !t.Replaced()
	if !gone && !t.Owns {
		t.finish(kind, message, err)
		return
	}
	t.Gone, t.GoneAt, t.GoneBy, t.endKind, t.end = true, t.now, t.now, kind, message
	if t.Owns {
		t.GoneBy = t.GoneBy.Add(t.DrainTimeout)
	}
	if gone {
		t.GoneBy = t.GoneBy.Add(GoneTime)
	}
	t.do(CallGone{gone})
}

// finish is the end.
func (t *turn) finish(kind Kind, message string, err error) {
	f := Finish{
		Kind: kind, Message: message, Err: err, Replaced: t.Replaced(),
		Guest: t.Heir && (t.Phase == Starting || t.Phase == Probation), Kill: t.Phase == Swapping,
	}
	t.Result = err
	t.Phase, t.Since = Stopped, t.now
	t.do(f)
}
