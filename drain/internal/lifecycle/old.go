package lifecycle

// Old is the side of the generation that is to be replaced. The zero value has just started the new process.
type Old struct {
	Phase OldPhase
	Mute  bool // the new process is of a version that doesn't say when it serves
	Extra int  // ticks that it may take to serve besides ServeTicks: its owners acquire first
	Ticks int  // in this phase
}

// OldPhase is how far the old side is.
type OldPhase uint8

// The phases of the old side.
const (
	Starting   OldPhase = iota // the new process has not said that it is ready
	Announcing                 // it has; what has to be told and paused before is
	Promoting                  // the word is on its way
	Waiting                    // for the new process to serve
	Leaving                    // the new process is asked to leave
	Dying                      // it was killed
	Retired                    // it is the main one
	Back                       // this generation is the main one again
)

// OldEvent is what can happen to the old side.
type OldEvent uint8

// The events of the old side.
const (
	ChildReady   OldEvent = iota // the new process has said that it is ready
	Announced                    // what Announce began is done
	Promoted                     // what Promote sent is in the kernel's hands
	NotPromoted                  // it couldn't be sent
	ChildServes                  // the new process has opened the doors
	ChildGone                    // it is dead, and all that it said was heard
	ChildDeaf                    // it lives, but its end of the link is closed
	GiveUp                       // the swap takes too long, the new process does not fit, or the service is to stop
	OldTick                      // a second is over
	oldEventsEnd                 // for tests
)

// OldEffect is what the old side does.
type OldEffect uint8

// The effects of the old side.
const (
	Announce   OldEffect = iota // tell the service manager, let the owners release; ends with Announced or GiveUp
	Promote                     // tell the new process that it is the main one; ends with Promoted or NotPromoted
	LetGo                       // close the doors and drain
	AskToLeave                  // tell the new process that it is not wanted
	Kill                        // the new process
	PassOn                      // tell the new process, which serves already, what came for it while it got ready
	TakeBack                    // undo what Announce and Promote did, and serve on
)

// Step returns what o becomes, and what is to be done, in that order.
func (o Old) Step(e OldEvent) (Old, []OldEffect) {
	switch o.Phase {
	case Retired:
		if e == NotPromoted {
			return o, []OldEffect{PassOn}
		}
		return o, nil
	case Back:
		return o, nil
	case Dying: // whatever it has said before
		if e == ChildGone {
			return o.to(Back, TakeBack)
		}
		return o, nil
	}
	switch e {
	case ChildGone:
		return o.to(Back, TakeBack)
	case ChildDeaf:
		return o.to(Dying, Kill)
	case ChildServes: // also one that has heard nothing for long, since this process was halted
		if o.Phase < Promoting || o.Phase == Leaving {
			return o.to(Retired, Promote, LetGo) // what goes along is wanted still
		}
		return o.to(Retired, LetGo)
	case OldTick:
		o.Ticks++
	}
	switch {
	case o.Phase == Starting && e == ChildReady:
		return o.to(Announcing, Announce)
	case o.Phase <= Announcing && e == GiveUp:
		return o.to(Leaving, AskToLeave)
	case o.Phase == Announcing && e == Announced:
		return o.to(Promoting, Promote)
	case o.Phase == Promoting && e == Promoted && o.Mute:
		return o.to(Retired, LetGo)
	case o.Phase == Promoting && e == Promoted:
		return o.to(Waiting)
	case o.Phase == Promoting && e == NotPromoted:
		return o.to(Leaving, AskToLeave)
	case o.Phase == Waiting && o.Ticks >= ServeTicks+o.Extra, o.Phase == Leaving && o.Ticks >= LeaveTicks:
		return o.to(Dying, Kill)
	}
	return o, nil
}

func (o Old) to(p OldPhase, effects ...OldEffect) (Old, []OldEffect) {
	return Old{Phase: p, Mute: o.Mute, Extra: o.Extra}, effects
}

// Sent tells whether the new process has, or will have, the word that it is the main one: what comes for it from now on
// comes after that.
func (o Old) Sent() bool { return o.Phase == Promoting || o.Phase == Waiting || o.Phase == Retired }

// Over tells whether the swap is.
func (o Old) Over() bool { return o.Phase == Retired || o.Phase == Back }
