package machine

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// A generation comes up: starting, in a swap probation, ready.

func (t *turn) enter(p Phase, kind Kind, message string) {
	t.Phase, t.Since = p, t.now
	t.say(kind, message)
}

func (t *turn) say(kind Kind, message string) {
	t.do(Tell{Kind: kind, Level: slog.LevelInfo, Message: message, Phase: t.Phase})
}

func (t *turn) sayError(kind Kind, message string, err error) {
	t.do(Tell{Kind: kind, Level: slog.LevelError, Message: message, Phase: t.Phase, Err: err})
}

func (t *turn) run(owns bool) {
	if !t.Running {
		t.Running, t.Owns, t.Successor.Owns = true, owns, owns
		t.do(CallReady{})
	}
}

func (t *turn) ready(err error) {
	switch {
	case t.Phase != Starting:
	case err != nil:
		t.fail(err)
	case t.Heir:
		t.enter(Probation, KindProbation, "probation")
		t.do(Probe{Hasten: t.Linked && t.Successor.Alone}) // no generation serves
	default:
		t.do(Prepare{})
	}
}

func (t *turn) passed(err error) {
	switch {
	case t.Phase != Probation:
	case err != nil:
		t.fail(fmt.Errorf("drain: self-check: %w", err))
	default:
		t.do(Prepare{})
	}
}

func (t *turn) prepared(err error) {
	if err != nil {
		t.fail(err)
		return
	}
	t.succeed(lifecycle.Proven)
}

// succeed does what the machine of the new side says.
func (t *turn) succeed(e lifecycle.NewEvent) {
	var effects []lifecycle.NewEffect
	t.Successor.New, effects = t.Successor.Step(e)
	for _, effect := range effects {
		switch effect {
		case lifecycle.Hasten:
			t.do(EndProbation{})
		case lifecycle.SayReady:
			t.Successor.Said = true
			t.do(SayReady{})
		case lifecycle.Acquire:
			t.do(Acquire{})
		case lifecycle.TakeOver:
			if !t.Successor.Said {
				t.do(SayReadyAlone{})
			}
			t.takeOver()
		case lifecycle.Inherit:
			t.inherit()
		case lifecycle.Leave:
			t.leave()
		}
	}
}

func (t *turn) acquired(err error) {
	switch {
	case t.Successor.Phase != lifecycle.Acquiring:
	case err != nil:
		t.failStart(err)
	default:
		t.succeed(lifecycle.Acquired)
	}
}

func (t *turn) promoted(word Promoted) {
	if s := &t.Successor; !s.HasWord {
		s.Word, s.HasWord = word, true
	}
	t.succeed(lifecycle.OldPromotes)
}

func (t *turn) takeOver() {
	s := &t.Successor
	if s.HasWord {
		t.PullBy = max(t.PullBy, s.Word.PullBy)
		asked := s.Word.Pending
		asked.Then(t.Later)
		t.Later, s.mustJoin = asked, s.Word.Join
	}
	if !s.Alone {
		t.Older++
	}
	t.Phase, t.Since = Ready, t.now
	t.do(TakeOver{Pull: t.Later.Pull})
	switch {
	case t.Later.Pull:
		t.pullNow()
	case s.mustJoin:
		t.do(CallJoin{})
	}
	switch {
	case t.Later.Stop:
		t.stop(nil)
	case t.Later.Swap:
		t.beginSwap(t.Later.AfterSwap())
	}
}

// inherit takes the word of the old generation where this one has taken over without it.
func (t *turn) inherit() {
	t.do(Inherit{})
	for _, v := range t.Successor.Word.Pending.Verbs() {
		t.command(v, t.Generation-1, nil)
	}
}

// leave ends a generation that is not the main one, and not to become it.
func (t *turn) leave() {
	t.do(SayFailed{Reason: "stopped before it was ready"})
	t.finish(KindStopped, "stopped before it was ready", nil)
}

func (t *turn) toldToLeave(reason string) {
	switch s := &t.Successor; {
	case s.Trusts && s.Phase == lifecycle.Main: // the old generation hasn't heard of that yet
	// A version that lets go then says so once more.
	case s.Phase == lifecycle.Awaiting || s.Phase == lifecycle.Acquiring:
		t.succeed(lifecycle.OldRefuses)
	case t.Phase == Starting && !t.Running:
		t.finish(KindStopped, reason, nil)
		t.do(Die{syscall.SIGTERM}) // the program is busy elsewhere and would not hear of it
	default:
		t.stop(nil)
	}
}

// older is told how many older generations live. The parent of one that takes over becomes one of them.
// Those that come to a generation that is replaced go on to the next one.
func (t *turn) older(n int) {
	if t.Replaced() {
		return
	}
	fewer := n < t.Older
	if t.Older = n; fewer {
		t.starve()
		t.settle()
	}
}

// fail ends the service because of an error of its own.
func (t *turn) fail(err error) {
	if s := t.Successor; s.Phase == lifecycle.Awaiting && !s.Trusts { // the old generation is letting go already
		t.Result = err
		t.Later.Add(Stop)
		return
	}
	switch {
	case t.Phase == Draining || t.Cutting || t.Gone: // its listener is closed by that
	case t.Phase == Starting || t.Phase == Probation:
		t.failStart(err)
	case t.Phase == Swapping: // the next generation is not to suffer from it
		t.Child.Failure = errors.Join(t.Child.Failure, err)
		t.sayError(KindFailing, "failed while swapping; stops if the swap fails", err)
	default:
		t.Result = err
		t.sayError(KindFailing, "failed, stopping", err)
		t.stop(nil)
	}
}

func (t *turn) failStart(err error) {
	t.Successor.New, _ = t.Successor.Step(lifecycle.Failed)
	t.do(SayFailed{Reason: err.Error()})
	t.finish(KindFailed, "failed", err)
}
