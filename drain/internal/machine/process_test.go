package machine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A process is one generation without a runner: its machine, what effects have begun and will end with
// an event, and what has been done. It can be a key, and there are not many: times are either now or long
// ago, errors are one error, and the present attempt to swap is always number 1.
type process struct {
	State
	owed duties
	done deeds
}

// duties are what effects have begun, and what ends with an event.
type duties struct {
	ready, probation, prepare, ticks bool
	acquire                          bool
	launch, timeout, announce        bool
	promote, takeBack                bool
	traffic, deadline                bool
	emptied, drained                 bool
	hurry, linger, cut, cutNow, gone bool

	parent bool       // the old generation lives, or its link
	child  childState // of the present attempt
}

// childState is what the world knows of the new process.
type childState struct{ lives, ready, spoken, doomed bool }

// deeds are what the machine has done, as far as that limits what it may do.
type deeds struct {
	took, pulling, stopping                        bool
	swap, promoted, asked, killed, letGo, tookBack bool
	drain, cut, gone, finished, announced, refused bool
	starved                                        bool
}

var (
	t0      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	longAgo = t0.Add(-time.Hour)
	errSome = errors.New("some error")
)

// hangup is the signal of every verb.
type hangup struct{}

func (hangup) String() string { return "a signal" }
func (hangup) Signal()        {}

func newProcess(set Setting) process {
	set.DrainTimeout = time.Minute
	p := process{State: New(set, t0)}
	p.owed.parent = set.Linked
	p.blur()
	return p
}

// blur makes states that differ in nothing that matters equal.
func (p *process) blur() {
	old := func(at *time.Time) {
		if at.IsZero() || at.Before(t0) {
			*at = longAgo
		}
	}
	if p.Phase != Draining {
		p.Since, p.Deadline = longAgo, longAgo
	}
	old(&p.Since)
	old(&p.Deadline)
	p.PullAt, p.StopAt, p.GoneAt, p.GoneBy = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	p.Result, p.Child.Reason = nil, "" // on which nothing depends but how it is told
	if p.Child.Failure != nil {
		p.Child.Failure = errSome
	}
	if p.Child.Aborted != "" {
		p.Child.Aborted = "why"
	}
	if p.done.letGo {
		p.Child.Failure, p.Child.Aborted, p.Child.Mute = nil, "", false
		if !p.owed.promote {
			p.Child.Next = Pending{}
		}
		p.owed.child = childState{}
	}
	if p.done.drain {
		p.Pulled, p.done.pulling, p.done.stopping = false, false, false
	}
	if p.Child.Attempt > 1 {
		p.Child.Attempt = 1
	}
	if p.Successor.Phase == lifecycle.Main { // not looked at any more
		p.Later, p.Successor.mustJoin = Pending{}, false
		p.Successor.Word, p.Successor.HasWord = Promoted{}, false
	}
	p.Successor.Ticks, p.Child.Ticks = 0, 0
	if p.Phase == Stopped {
		*p = process{State: State{Phase: Stopped}, done: deeds{finished: true}}
	}
}

// heed is a step. It returns what is done, and what is wrong with that.
func (p *process) heed(e Event) (effects []Effect, wrong string) {
	before := *p
	p.State, effects = p.State.Step(e, t0)
	for i, effect := range effects {
		if p.done.finished {
			if _, dies := effect.(Die); !dies {
				return effects, fmt.Sprintf("%T after the end", effect)
			}
		}
		if is := p.do(effect, &before); is != "" {
			return effects, fmt.Sprintf("effect %d, %T: %s", i, effect, is)
		}
	}
	cuts := func(e Effect) bool { return e == CutOffNow{} || e == CutOff{Why: "asked twice"} }
	wrong = p.wrong(&before, effects)
	switch _, back := e.(TakenBack); {
	case wrong != "" || slices.ContainsFunc(effects, cuts):
	case back && before.Child.Hasty:
		wrong = "the second signal to stop is forgotten"
	case before.LeaveNow && e == signal(Stop) && !before.committing() && !p.Child.Hasty:
		wrong = "the second signal to stop does nothing"
	}
	p.blur()
	return effects, wrong
}

// do takes note of an effect. It returns why that must not be, or "".
func (p *process) do(effect Effect, before *process) (wrong string) {
	o, d := &p.owed, &p.done
	must := func(ok bool, what string) {
		if !ok && wrong == "" {
			wrong = what
		}
	}
	swapping := d.swap && !d.letGo
	fed := p.Owns && !d.letGo && p.Older > 0 // older generations pass requests on, whose handlers hand in work
	switch e := effect.(type) {
	case CallReady:
		must(!o.ready, "twice")
		o.ready = true
	case Probe:
		must(!o.probation && p.Heir, "twice, or with nobody to take over from")
		o.probation = true
	case Prepare:
		must(!o.prepare && !d.took, "twice")
		o.prepare = true
	case SayReady:
		must(!o.ticks && !d.took && p.Linked, "twice, or to nobody")
		o.ticks = true
	case Acquire:
		must(!o.acquire && !d.took, "twice")
		o.acquire, o.ticks = true, false
	case TakeOver:
		must(!d.took && !d.finished && !o.acquire, "twice, or before the owners have acquired")
		d.took = true
	case Inherit:
		must(d.took && before.Successor.Told == false, "not the first word after TakeOver")
	case BeginPull:
		must(d.took && !d.pulling && !d.drain, "not while it serves, or twice")
		d.pulling = true
	case EndPull:
		must(d.pulling && !d.stopping && !d.drain, "while not pulled, or in a stop")
		d.pulling = false
	case CallJoin:
		must(d.took && !d.pulling, "while pulled")
	case CallLeave:
		must(d.pulling, "while not pulled")
	case AwaitBalancers:
		must(d.pulling && p.Stopping && !o.traffic && !d.drain, "without a pull and a stop, or twice")
		o.traffic, d.stopping = true, true

	case BeginSwap:
		must(d.took && !d.swap && !d.drain && p.NoSwap == "" && !p.Stopping, "twice, or while leaving")
		*d = deeds{took: true, pulling: d.pulling, swap: true}
		o.launch, o.timeout, o.child = true, true, childState{}
	case GiveUp:
		must(swapping && o.timeout, "of what is not under way")
		o.timeout = false
	case Announce:
		must(swapping && !d.announced && o.child.lives, "twice, or of nobody")
		d.announced, o.announce = true, true
	case Promote:
		must(swapping && (!d.promoted || d.refused) && !d.tookBack, "twice, or after TakeBack")
		d.promoted, d.refused, o.promote = true, false, true
		must(e.Next == p.Child.Next && (e.PullBy == p.PullBy || e.Next.Swap && !e.Next.PullLast), "without what waits")
	case PassOn:
		must(d.promoted && d.swap && !d.tookBack, "before Promote")
	case LetGo:
		must(swapping && d.promoted && !d.tookBack, "of what is not promoted")
		d.letGo, o.timeout = true, false
	case AskToLeave:
		must(swapping && !d.asked && !d.tookBack, "twice, or without a swap")
		d.asked = true
	case Kill:
		must(swapping && !d.killed && !d.tookBack, "twice, or of the main generation")
		d.killed, o.child.doomed = true, true
	case TakeBack:
		must(swapping && !d.tookBack && !o.child.lives && e.Released == d.promoted, "twice, or from one that lives")
		d.tookBack, o.takeBack = true, true
	case ResumeReads:
		must(d.tookBack || !d.swap || !d.promoted, "while the next generation reads")
	case SwapFailed:
		must(swapping && (d.tookBack || !o.child.lives), "of one that has not")
		d.swap, o.timeout, o.launch = false, false, false
	case Forward:
		must(d.letGo, "to nobody")

	case Drain:
		must(d.took && !d.drain && e.Replaced == d.letGo, "twice, or as another than it is")
		d.drain, o.emptied, o.drained, o.deadline = true, true, true, true
	case EndWork:
		must(d.drain && !o.emptied && !d.starved && !fed, "while work may come, or twice")
		d.starved = true
	case Hurry:
		must(d.letGo && d.drain && o.deadline && e.Drained == !o.drained, "of what doesn't drain")
		o.deadline, o.hurry = false, o.drained
	case AwaitOlder:
		must(d.drain && !o.emptied && (fed || !o.drained) && p.Older > 0, "while there is something else to wait for")
	case Linger:
		must(d.letGo && d.drain && !o.drained && e.For > 0, "of one that is needed, or has work")
		o.linger = true
	case CutOff:
		must(d.took && !o.cut && !o.cutNow, "twice")
		must(!p.takingBack(), "while the owners have not everything again")
		d.cut = true
		o.cut = true
	case CutOffNow:
		must(o.cut, "of nothing")
		o.cutNow = true
	case CallGone:
		must(!d.gone && (d.drain || d.cut) && !o.cut && (!o.drained || d.cut), "twice, or too soon")
		must(e.Hook == (p.CallsGone && !d.letGo && (!d.cut || p.cutBows)) && (e.Hook || p.Owns), "with another hook")
		d.gone, o.gone = true, true
	case Finish:
		must(e.Replaced == d.letGo && e.Guest == (p.Heir && !d.took) &&
			e.Kill == (swapping && before.Phase == Swapping), "as another than it is")
		must(!d.took || d.drain && (!o.drained || d.cut) || d.cut, "with something open")
		must(d.gone || !p.CallsGone || d.letGo || !d.took || !p.cutBows, "without Config.Gone")
		must(d.gone || !p.Owns || !d.took, "before the owners have saved")
		d.finished = true
	case Die:
		must(d.finished && !p.Running, "while the program hears of it")
	}
	return wrong
}

// failing tells whether e says that the service fails.
func failing(e Effect) bool { tell, is := e.(Tell); return is && tell.Kind == KindFailing }

// wrong tells what must not be, whatever has happened.
func (p *process) wrong(before *process, effects []Effect) string {
	d, s := &p.done, &p.State
	if s.Phase == Stopped {
		if !d.finished {
			return "stopped without Finish"
		}
		return ""
	}
	serves := d.took && !d.drain
	switch {
	case d.finished:
		return "not stopped after Finish"
	case s.Pulled != d.pulling:
		return "Pulled is not what probers see"
	case s.Phase.Serves() != serves || (s.Phase == Draining) != d.drain:
		return "the phase is not what is done"
	case s.Phase == Pulled && !s.Pulled, s.Phase == Ready && s.Pulled:
		return "Ready and Pulled are the same"
	case s.Phase == Swapping && !d.swap, s.Replaced() != d.letGo, s.Swap != d.swap:
		return "the swap is not what is done"
	case s.Leads() && (d.promoted && d.swap || !serves):
		return "it leads, and another may too"
	case s.Stopping && s.Phase == Ready, s.Stopping && s.Phase == Pulled && !p.owed.traffic:
		return "a stop that nothing goes on with"
	case before.LeaveNow && !s.LeaveNow && d.letGo == before.done.letGo:
		return "a signal to stop is forgotten"
	case d.letGo && !before.done.letGo && (s.Stopping || s.LeaveNow):
		return "a signal to stop is not the first one for what is left here"
	case s.Cutting != (p.owed.cut || p.owed.cutNow) && !p.owed.cutNow:
		return "Cutting is not what is done"
	case (before.Cutting || before.Gone) && slices.ContainsFunc(effects, failing):
		return "a server whose listener is closed has failed"
	}
	// What comes for the next generation is told, and what waited is heeded when the wait is over.
	switch next := before.Child.Next; {
	case before.done.promoted && s.Child.Sent() && s.Child.Forwards && s.Child.Next != next ||
		d.letGo && !before.done.letGo && before.Stopping && !next.Stop:
		if !slices.ContainsFunc(effects, func(e Effect) bool { _, is := e.(PassOn); return is }) {
			return "the next generation is not told"
		}
	case before.Phase == Swapping && s.Phase != Draining &&
		(s.Phase != Swapping || s.Child.Attempt != before.Child.Attempt):
		if next.Stop && !s.Stopping || next.Swap && !d.swap && !s.Stopping || before.Stopping && !s.Stopping ||
			before.Child.Failure != nil && !s.Stopping {
			return "what waited for the swap is forgotten"
		}
	}
	if later := before.Later; d.took && !before.done.took {
		if p.Successor.HasWord {
			w := p.Successor.Word.Pending
			w.Then(later)
			later = w
		}
		if later.Stop && !s.Stopping || later.Pull && !s.Pulled ||
			later.Swap && !s.Stopping && !d.swap && p.NoSwap == "" {
			return "what waited for this generation is forgotten"
		}
	}
	return ""
}
