package machine

import (
	"errors"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// State is what one generation is doing. New makes the first one.
type State struct {
	Setting

	Phase    Phase
	Since    time.Time // of the phase
	Running  bool      // Run has been called
	Owns     bool      // the program has owners
	Stopping bool      // a stop has begun
	LeaveNow bool      // the next signal to stop ends everything
	Pulled   bool
	Result   error // of Run

	Successor Successor // how far this generation has come in taking over
	Later     Pending   // what came before it was ready
	Older     int       // older generations that live

	Swap  bool // one is under way, or has succeeded: then Child tells of it
	Child Swapped

	PullAt time.Time // of the last signal to pull
	PullBy int       // generation to which the last pull came; 0: unknown, or the pull is over
	StopAt time.Time // of the last signal to stop that was heeded

	Emptied  bool // no connection is left here
	Starved  bool // nothing hands in work any more
	Drained  bool // nothing is left here, but of older generations
	Hurried  bool // a newer generation has shortened the drain
	Deadline time.Time
	Cutting  bool // what is left is being cut off
	cutBows  bool // and Config.Gone is called then
	Gone     bool // the owners save, or Config.Gone is called
	GoneAt   time.Time
	GoneBy   time.Time
	endKind  Kind // what Finish is to say when that has returned
	end      string
}

// Setting is what does not change.
type Setting struct {
	Generation   int
	Heir         bool   // another process has started this one, to be replaced by it
	Linked       bool   // that one is of this library
	Trusts       bool   // see lifecycle.New
	NoSwap       string // why this process can't be replaced; "": it can
	CallsGone    bool   // there is a Config.Gone
	DrainTimeout time.Duration
	SameWish     time.Duration // how long after a signal to stop another one says the same
}

// Successor is a generation that takes over. The first one is a successor, too, which is alone.
type Successor struct {
	lifecycle.New
	Word     Promoted // of the old generation
	HasWord  bool
	Said     bool // that it is ready
	mustJoin bool
}

// hasMore tells whether another generation goes on if this one leaves, or this one has what no other has.
func (s Successor) hasMore() bool { return !s.Alone || s.HasWord }

// Swapped is a swap that this generation has begun.
type Swapped struct {
	lifecycle.Old
	Attempt  int // its number, from 1
	Released bool
	Paused   bool // the owners release, or have
	Forwards bool
	Took     time.Duration // to start and to say so; 0: not known
	Next     Pending       // what came meanwhile, and goes to the next generation
	Aborted  string        // why it fails, as this generation says
	Reason   string        // as the new process says
	Failure  error         // of a server of this generation, meanwhile
	Hasty    bool          // a second signal to stop waits until the owners have again what they have released
}

// New returns the state of a generation that has just started.
func New(set Setting, now time.Time) State {
	return State{Setting: set, Phase: Starting, Since: now, Successor: Successor{
		New: lifecycle.New{Alone: !set.Linked, Trusts: set.Trusts}, mustJoin: true,
	}}
}

// Replaced tells whether another generation is the main one.
func (s State) Replaced() bool { return s.Swap && s.Child.Phase == lifecycle.Retired }

// Leaves tells whether this generation takes nothing new, or is about to.
func (s State) Leaves() bool { return s.Stopping || s.Phase.Ends() }

// Leads tells whether this generation may begin what one generation does at a time: it is the main
// one, and no other has been told that it is.
func (s State) Leads() bool {
	return s.Phase.Serves() && !(s.Phase == Swapping && s.Child.Released)
}

// committing tells whether the child is ready, and this generation still the main one.
func (s State) committing() bool {
	return s.Phase == Swapping && s.Child.Phase >= lifecycle.Announcing && s.Child.Phase <= lifecycle.Waiting
}

// takingBack tells whether owners may have released, and are to have everything again.
func (s State) takingBack() bool {
	return s.Phase == Swapping && s.Child.Paused && s.Child.Phase > lifecycle.Waiting
}

// Step returns what s becomes, and what is to be done.
func (s State) Step(e Event, now time.Time) (State, []Effect) {
	if s.Phase == Stopped {
		return s, nil
	}
	t := &turn{State: s, now: now}
	t.heed(e)
	return t.State, t.effects
}

// turn is a step under way.
type turn struct {
	State
	now     time.Time
	effects []Effect
}

func (t *turn) do(effects ...Effect) { t.effects = append(t.effects, effects...) }

// heed finds what e means. What each event does stands by what it is about.
func (t *turn) heed(e Event) {
	switch e := e.(type) {
	case RunCalled:
		t.run(e.Owns)
	case ReadyReturned:
		t.ready(e.Err)
	case ProbationOver:
		t.passed(e.Err)
	case Prepared:
		t.prepared(e.Err)
	case Acquired:
		t.acquired(e.Err)
	case Tick:
		t.succeed(lifecycle.NewTick)
	case Promoted:
		t.promoted(e)
	case PredecessorGone:
		t.succeed(lifecycle.OldGone)
	case ToldToLeave:
		t.toldToLeave(e.Reason)
	case Older:
		t.older(e.Count)

	case Signaled:
		t.signaled(e)
	case Asked:
		t.asked(e.Verb)
	case Forwarded:
		t.command(e.Verb, e.By, nil)
	case ContextOver:
		t.stopOnce()
	case KeeperGone:
		t.keeperGone()
	case ServerFailed:
		t.fail(e.Err)

	case NotStarted:
		if t.under(e.Attempt) {
			t.swapFailed(e.Err)
		}
	case SwapTimedOut:
		if t.under(e.Attempt) {
			t.abort(e.Why)
		}
	case ChildSpeaks:
		t.childSpeaks(e)
	case ChildExplains:
		if t.under(e.Attempt) && t.Child.Aborted == "" { // or it says that it was asked to leave
			t.Child.Reason = e.Reason
		}
	case NotReleased:
		t.Child.Paused = t.Child.Paused && t.Child.Attempt != e.Attempt
		t.unfit(e.Attempt, e.Why)
	case Child:
		t.child(e)
	case TakenBack:
		t.takenBack(e)

	case PullNoticed:
		t.pullNoticed(e.Why)
	case TrafficOver:
		t.trafficOver()
	case Emptied:
		t.Emptied = true
		t.starve()
	case Drained:
		t.Drained = true
		t.settle()
	case LingerOver:
		t.settle()
	case DeadlineOver:
		if !t.Gone { // which has a time of its own
			t.cutOff("DrainTimeout ("+t.DrainTimeout.String()+") is over", LastWords, true)
		}
	case Hurried:
		t.hurry()
	case HurryOver:
		t.cutOff("a newer generation asked to leave", LastWords, true)
	case CutOffDone:
		t.cutOffDone(e.Err)
	case GoneReturned:
		t.finish(t.endKind, t.end, errors.Join(t.Result, e.Err))
	}
}
