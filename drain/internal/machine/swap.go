package machine

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A swap, in the old generation.

// under tells whether that attempt is under way.
func (s State) under(attempt int) bool {
	return s.Swap && s.Phase == Swapping && s.Child.Attempt == attempt
}

// swap begins a swap, or says why not. A signal is remembered where a caller is refused.
func (t *turn) swap(asked bool) {
	refuse := func(why string, is Refusal) {
		t.do(Log{Level: slog.LevelWarn, Message: "swap refused", Attrs: []any{"why", why, "phase", string(t.Phase)}})
		if asked {
			t.do(Refuse{why, is})
		}
	}
	const notNow = "not ready, or a swap is under way"
	switch {
	case t.NoSwap != "":
		refuse(t.NoSwap, Unsupported)
	case t.Stopping:
		refuse("the service is stopping", Leaving)
	case t.Phase == Ready || t.Phase == Pulled:
		t.beginSwap(Pending{})
	case t.Phase == Draining:
		refuse("this generation is draining; ask the main one", Leaving)
	case asked && t.Phase == Swapping:
		refuse(notNow, Busy)
	case asked:
		refuse(notNow, TooEarly)
	case t.Phase == Swapping:
		t.keep(Swap)
	default:
		t.Later.Add(Swap)
	}
}

// beginSwap begins a swap; next is what is known already that the next generation is to do.
func (t *turn) beginSwap(next Pending) {
	t.Swap, t.Child = true, Swapped{Attempt: t.Child.Attempt + 1, Next: next}
	t.Phase, t.Since = Swapping, t.now
	t.do(BeginSwap{t.Child.Attempt})
}

// keep keeps what came while a swap is under way, for the next generation or, if the swap fails, for this one.
func (t *turn) keep(v Verb) {
	t.Child.Next.Add(v)
	if t.Child.Sent() && t.Child.Forwards {
		p := Pending{}
		p.Add(v)
		t.do(PassOn{p})
	}
}

// abort makes a swap fail whose child is not ready yet: it is asked to leave, and killed if it doesn't.
func (t *turn) abort(why string) {
	if t.Child.Aborted == "" && t.Child.Phase == lifecycle.Starting {
		t.Child.Aborted = why
		t.do(GiveUp{})
		t.replace(lifecycle.GiveUp)
	}
}

func (t *turn) childSpeaks(e ChildSpeaks) {
	if !t.Swap || t.Child.Attempt != e.Attempt {
		return
	}
	t.Child.Forwards, t.Child.Took = e.Forwards, e.Took // also of one that says so late
	if e.Misfit != nil {
		t.unfit(e.Attempt, e.Misfit.Error())
	}
}

// unfit makes a swap fail whose child may be ready, but is not to be the main one.
func (t *turn) unfit(attempt int, why string) {
	if t.under(attempt) && t.Child.Aborted == "" && t.Child.Phase <= lifecycle.Announcing {
		t.Child.Aborted = why
		t.replace(lifecycle.GiveUp)
	}
}

func (t *turn) child(e Child) {
	// Announce may pause the reads late, when TakeBack has come, or when another swap has begun.
	if e.Event == lifecycle.Announced &&
		(!t.Swap || t.Child.Phase == lifecycle.Starting || t.Child.Phase == lifecycle.Back) {
		t.do(ResumeReads{})
	}
	if !t.Swap || t.Child.Attempt != e.Attempt {
		return
	}
	switch e.Event {
	case lifecycle.Announced:
		t.Child.Mute, t.Child.Extra = e.Mute, e.Extra
	case lifecycle.NotPromoted:
		if e.Why != "" {
			t.Child.Aborted = cmp.Or(t.Child.Aborted, "can't be told that it is the main one: "+e.Why)
		}
	}
	t.replace(e.Event)
}

// replace does what the machine of the old side says.
func (t *turn) replace(e lifecycle.OldEvent) {
	var effects []lifecycle.OldEffect
	t.Child.Old, effects = t.Child.Step(e)
	for _, effect := range effects {
		switch effect {
		case lifecycle.Announce:
			t.Child.Paused = t.Owns
			t.do(Log{Level: slog.LevelDebug, Message: "next generation is ready",
				Attrs: []any{"to", t.Generation + 1}}, Announce{})
		case lifecycle.Promote:
			t.promote()
		case lifecycle.LetGo:
			t.letGo()
		case lifecycle.AskToLeave:
			t.do(AskToLeave{t.Child.Aborted})
		case lifecycle.Kill:
			t.Child.Aborted = cmp.Or(t.Child.Aborted, fmt.Sprintf("it was ready, and did not serve within %v",
				time.Duration(lifecycle.ServeTicks+t.Child.Extra)*lifecycle.Tick))
			t.do(Kill{})
		case lifecycle.PassOn:
			t.do(PassOn{t.Child.Next})
		case lifecycle.TakeBack:
			t.do(TakeBack{Released: t.Child.Released})
		}
	}
}

func (t *turn) promote() {
	p := Promote{Next: t.Child.Next, PullBy: t.PullBy}
	if p.Next.Swap && !p.Next.PullLast { // which ends the pull
		p.PullBy = 0
	}
	t.Child.Released = true
	t.do(p)
	if t.Child.Next.Stop {
		t.do(PassOn{Pending{Stop: true}})
	}
}

// letGo drains what is here into the child, which serves.
func (t *turn) letGo() {
	t.do(LetGo{})
	if t.Stopping && !t.Child.Next.Stop {
		t.do(PassOn{Pending{Stop: true}})
	}
	t.Result = t.Child.Failure
	t.Stopping, t.LeaveNow = false, false // from here on a signal is meant for what is left here
	t.Older = 0                           // they are the next generation's
	t.drain(KindReplaced, "replaced")
}

func (t *turn) takenBack(e TakenBack) {
	if !t.under(e.Attempt) {
		return
	}
	if e.PIDFile != nil {
		t.sayError(KindPIDFileFailed, "the PID file names a process that is dead", e.PIDFile)
	}
	t.swapFailed(e.Err)
}

// swapFailed makes this generation what it was before.
func (t *turn) swapFailed(err error) {
	c := t.Child
	why := cmp.Or(c.Aborted, c.Reason)
	if c.Aborted != "" && c.Reason != "" { // a script that has started it may not have ended
		why += ": " + c.Reason
	}
	t.Swap, t.Child = false, Swapped{Attempt: c.Attempt}
	t.Phase, t.Since = Ready, t.now
	if t.Pulled {
		t.Phase = Pulled
	}
	t.do(SwapFailed{Err: err, Why: why, Phase: t.Phase})
	switch {
	case t.Stopping:
		t.Result = c.Failure
		t.do(AwaitBalancers{})
		if c.Hasty {
			t.cutOff("asked twice", 0, false)
		}
	case c.Failure != nil:
		t.fail(c.Failure)
	case c.Next.Stop:
		t.stop(nil)
	case c.Next.Swap:
		t.beginSwap(c.Next.AfterSwap())
	}
}
