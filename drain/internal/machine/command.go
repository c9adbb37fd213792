package machine

import (
	"log/slog"
	"os"
	"time"
)

// What a generation is told to do, by a signal, a call, or another generation.

func (t *turn) signaled(e Signaled) {
	t.do(Heard{e.Signal, e.Verb})
	together := e.At.Sub(t.PullAt) < SameInstant
	switch e.Verb {
	case Restore:
		if together {
			t.do(Log{Level: slog.LevelWarn,
				Message: "restore ignored: it came in the same instant as a pull; send it again"})
			return
		}
		if !t.Pulled && (t.Phase == Ready || t.Phase == Swapping) { // another program may send it, each night
			t.do(Log{Level: slog.LevelInfo, Once: true, Message: "nothing to restore: not pulled; if this signal is " +
				"to mean something else, set Config.Signals.Restore"})
		}
	case Stop:
		if !t.StopAt.IsZero() && e.At.Sub(t.StopAt) < t.SameWish {
			t.do(Log{Level: slog.LevelInfo, Message: "repeats the signal before; send it again to exit now",
				Attrs: []any{"within", t.SameWish}})
			return
		}
		t.StopAt = e.At
	}
	t.command(e.Verb, t.Generation, e.Signal)
	switch {
	case e.Verb == Stop && e.Signal == os.Interrupt && t.Stopping && t.Pulled && t.Phase != Draining:
		t.do(DropVisitors{})
	case e.Verb == Pull:
		t.PullAt = e.At
	case e.Verb == Restore:
		t.PullAt = time.Time{}
	case e.Verb == Swap && together:
		t.command(Pull, t.Generation, e.Signal)
	}
}

func (t *turn) asked(v Verb) {
	switch {
	case v == Swap:
		t.swap(true)
	case v == Pull:
		t.PullBy = t.Generation
		t.pullNow()
	case v == Restore && !t.Leaves():
		t.PullBy = 0
		t.restore()
	case v == Stop && !t.Stopping:
		t.stop(nil)
	}
}

// command does what a command says that came to generation by, here or in the main generation. Sig is nil
// where another generation has forwarded it, which makes no second signal of it: a manager signals
// every process of the service.
//
// An older generation may forward a command late. Its sender has read the PID file before one that
// signals a newer generation. So a pull that came to a newer generation is the later one, and holds.
func (t *turn) command(v Verb, by int, sig os.Signal) {
	if t.forward(v, by) && v != Stop {
		return
	}
	pullIsLater := t.PullBy > by
	switch v {
	case Swap:
		t.swap(false)
		if pullIsLater {
			t.pullNow()
		} else {
			t.PullBy = 0
		}
	case Pull:
		t.PullBy = max(t.PullBy, by)
		t.pullNow()
	case Restore:
		if pullIsLater {
			t.do(Log{Level: slog.LevelWarn,
				Message: "restore ignored: an older generation forwards it after a pull; send it again"})
			return
		}
		t.PullBy = 0
		t.restore()
	case Stop:
		if sig != nil {
			t.stop(sig)
		} else {
			t.stopOnce()
		}
	}
}

// forward passes a command on to the main generation, and reports whether it does.
func (t *turn) forward(v Verb, by int) bool {
	if !t.Replaced() || t.now.Sub(t.Since) > ForwardTime || !t.Child.Forwards {
		return false
	}
	t.do(Forward{Verb: v, By: by})
	t.do(Log{Level: slog.LevelInfo, Message: "forwarded to the main generation", Attrs: []any{"command", string(v)}})
	return true
}

func (t *turn) pullNow() {
	switch t.Phase {
	case Starting, Probation:
		t.Later.Add(Pull)
	case Ready:
		t.pull(KindPulled, "pulled")
	case Swapping:
		t.keep(Pull)
		t.pull(KindPulled, "pulled while swapping; the next generation starts pulled")
	}
}

func (t *turn) pull(kind Kind, message string) {
	if t.Pulled {
		return
	}
	t.Pulled = true
	phase := t.Phase
	if phase == Ready {
		phase = Pulled
	}
	t.do(BeginPull{})
	t.enter(phase, kind, message)
	t.do(CallLeave{})
}

func (t *turn) pullNoticed(why Unnoticed) {
	switch {
	case !t.Pulled:
	case why == Overdue:
		t.say(KindPullOverdue, "pull not noticed by all: PullMax is over")
	case why == Unasked:
		t.say(KindPullUnasked, "nobody asks for PingPath: no balancer to wait for")
	default:
		t.say(KindPullNoticed, "pull noticed")
	}
}

func (t *turn) restore() {
	if t.Phase == Starting || t.Phase == Probation {
		t.Later.Add(Restore)
	}
	if t.Stopping || !t.Pulled || t.Phase != Pulled && t.Phase != Swapping {
		return
	}
	t.Pulled = false
	t.do(EndPull{})
	if t.Phase == Swapping {
		t.keep(Restore)
		t.enter(Swapping, KindRestored, "restored while swapping")
	} else {
		t.enter(Ready, KindRestored, "restored")
	}
	t.do(CallJoin{})
}

// keeperGone stops as by a signal, also as the second one: a supervisor sends KILL where TERM takes too long.
func (t *turn) keeperGone() {
	switch {
	case t.Stopping && (t.Phase == Pulled || t.Phase == Draining):
		t.cutOff("the keeper was killed", 0, false)
	case t.Phase != Draining:
		t.do(Log{Level: slog.LevelWarn, Message: "the keeper is gone: stopping"})
		t.stop(nil)
	}
}
