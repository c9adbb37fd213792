package drain

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// saySoon is before the first line about a wait that is often over at once, and that an operator waits for; sayAgain is
// between two lines about the same wait, and before the first one about any other.
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

// waiting is a wait that is told of.
type waiting struct {
	awaited
	due   time.Time // when to say so
	timer *time.Timer
}

// waitDue: it is time to say once more what is waited for.
type waitDue struct{}

// awaits returns what this generation waits for.
func (r *runner) awaits() awaited {
	s := &r.state
	switch {
	case s.Phase == machine.Starting && s.Running && r.cfg.Ready != nil:
		return forReady
	case s.Phase == machine.Swapping:
		return forSuccessor
	case s.Phase == machine.Pulled && r.pull != nil && !isClosed(r.pull.noticed):
		return forBalancers
	case s.Phase == machine.Pulled && s.Stopping && r.pull != nil && r.pull.left != nil && !isClosed(r.pull.left):
		return forLeave
	case s.Phase != machine.Draining:
		return forNothing
	case s.Gone:
		return forGone
	case s.Drained && s.Older > 0:
		return forOlder
	case s.Drained:
		return forNothing
	}
	return forRest
}

// wait puts that in words.
func (r *runner) wait(what awaited) Wait {
	w := Wait{Since: r.state.Since, Until: r.state.Deadline}
	switch what {
	case forReady:
		w.For, w.Until = "Config.Ready", time.Time{}
	case forSuccessor:
		w.For, w.Until = fmt.Sprintf("generation %d to take over", r.state.Generation+1), time.Time{}
		if r.swap != nil {
			w.Until, _ = r.swap.ctx.Deadline()
		}
	case forBalancers:
		w.For = "balancers"
		if probers, ok := r.health.Awaits(); ok { // or they have noticed right now
			w = Wait(probers)
		}
	case forLeave:
		w.For, w.Until = "Config.Leave", r.pull.leaveBy
	case forRest, forOlder:
		w.For = r.left(connections(r.set.Counts()))
	case forGone:
		w.For, w.Since, w.Until = "Config.Gone", r.state.GoneBy.Add(-machine.GoneTime), r.state.GoneBy
	}
	return w
}

// sayWait says what is waited for, again and again while it lasts.
func (r *runner) sayWait() {
	what, now, w := r.awaits(), time.Now(), &r.waiting
	if what != w.awaited {
		w.awaited, w.due = what, now.Add(sayAgain)
		switch {
		case what == forBalancers:
			w.due = now
		case what == forLeave, what == forRest && !r.state.Replaced():
			w.due = now.Add(saySoon)
		}
	}
	if what != forNothing && !now.Before(w.due) {
		w.due = now.Add(sayAgain)
		wait := r.wait(what)
		attrs := []any{"for", wait.For, "since", wait.Since}
		if !wait.Until.IsZero() {
			attrs = append(attrs, "until", wait.Until)
		}
		if r.state.LeaveNow && len(r.cfg.Signals.Stop) > 0 {
			attrs = append(attrs, "leave", "the next signal to stop cuts off what is left")
		}
		r.tell(EventWaiting, slog.LevelInfo, "waiting", nil, attrs...)
	}
	switch {
	case what == forNothing:
		w.stop()
	case w.timer == nil:
		w.timer = time.AfterFunc(w.due.Sub(now), func() { r.post(waitDue{}) })
	default:
		w.timer.Reset(w.due.Sub(now))
	}
}

func (w *waiting) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
