package drain

import (
	"fmt"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/health"
)

// saySoon is the time before the first line about a wait that is often over at once, and that an operator waits for.
// sayAgain is the time between two lines about the same wait, and before the first line about any other.
var saySoon, sayAgain = 2 * time.Second, 10 * time.Second

// awaited is what a generation waits for before it goes on.
type awaited int

const (
	forNothing   awaited = iota
	forReady             // Config.Ready
	forSuccessor         // the next generation
	forBalancers         // to notice a pull
	forLeave             // Config.Leave
	forRest              // connections, work
	forOlder             // generations
	forGone              // Config.Gone
)

// waiting tells of what this generation waits for, again and again while it lasts.
type waiting struct {
	inbox
	cfg    *Config
	health *health.State

	awaited
	due   time.Time // when to say so
	timer *time.Timer
}

// waitingView is what it sees of the generation.
type waitingView struct {
	machine.State
	swapBy func() time.Time // when the swap under way fails
	pull   *pulling
	left   func() string // what is not over yet
}

// waitDue: it is time to say once more what is waited for.
type waitDue struct{}

// what returns what is waited for.
func (w *waiting) what(v waitingView) awaited {
	switch {
	case v.Phase == machine.Starting && v.Running && w.cfg.Ready != nil:
		return forReady
	case v.Phase == machine.Swapping:
		return forSuccessor
	case v.Phase == machine.Pulled && v.pull != nil && !isClosed(v.pull.noticed):
		return forBalancers
	case v.Phase == machine.Pulled && v.Stopping && v.pull != nil && v.pull.left != nil && !isClosed(v.pull.left):
		return forLeave
	case v.Phase != machine.Draining:
		return forNothing
	case v.Gone:
		return forGone
	case v.Older > 0 && (v.Drained || v.Emptied && !v.Starved):
		return forOlder
	case v.Drained:
		return forNothing
	}
	return forRest
}

// words puts that in words; nil: nothing is waited for.
func (w *waiting) words(v waitingView) *Wait {
	is := Wait{Since: v.Since, Until: v.Deadline}
	switch w.what(v) {
	case forNothing:
		return nil
	case forReady:
		is.For, is.Until = "Config.Ready", time.Time{}
	case forSuccessor:
		is.For, is.Until = fmt.Sprintf("generation %d to take over", v.Generation+1), v.swapBy()
	case forBalancers:
		is.For = "balancers"
		if probers, ok := w.health.Awaits(); ok { // or they have noticed right now
			is = Wait(probers)
		}
	case forLeave:
		is.For, is.Until = "Config.Leave", v.pull.leaveBy
	case forRest, forOlder:
		is.For = v.left()
	case forGone:
		is.For, is.Since, is.Until = "Config.Gone", v.GoneAt, v.GoneBy
		if v.Owns {
			is.For = "owners to save, Config.Gone"
		}
	}
	return &is
}

// report returns what a line says now; nil: no line is due.
func (w *waiting) report(v waitingView) (attrs []any) {
	what, now := w.what(v), time.Now()
	if what != w.awaited {
		w.awaited, w.due = what, now.Add(sayAgain)
		switch {
		case what == forBalancers:
			w.due = now
		case what == forLeave, what == forRest && !v.Replaced():
			w.due = now.Add(saySoon)
		}
	}
	if what == forNothing {
		w.stop()
		return nil
	}
	if !now.Before(w.due) {
		w.due = now.Add(sayAgain)
		is := w.words(v)
		attrs = []any{"for", is.For, "since", is.Since}
		if !is.Until.IsZero() {
			attrs = append(attrs, "until", is.Until)
		}
		if v.LeaveNow && len(w.cfg.Signals.Stop) > 0 {
			attrs = append(attrs, "leave", "the next signal to stop cuts off what is left")
		}
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(w.due.Sub(now), func() { w.post(waitDue{}) })
	} else {
		w.timer.Reset(w.due.Sub(now))
	}
	return attrs
}

func (w *waiting) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
