package lifecycle

// New is the side of the generation that is to take over. The zero value has just started.
type New struct {
	Phase  NewPhase
	Alone  bool // the old generation is gone
	Trusts bool // the old generation lets go only when this one serves, and so may be left waiting
	Owns   bool // this one has owners: it takes nothing from an old generation that lives, and has not released it
	Ticks  int  // in this phase
	Told   bool // by the old generation that it is the main one
}

// NewPhase is how far the new side is.
type NewPhase uint8

// The phases of the new side.
const (
	Candidate NewPhase = iota // checks itself behind closed doors
	Awaiting                  // has said that it is ready
	Acquiring                 // is to be the main one: its owners acquire
	Main                      // serves
	Left                      // is about to exit
)

// NewEvent is what can happen to the new side.
type NewEvent uint8

// The events of the new side.
const (
	Proven       NewEvent = iota // it works
	Acquired                     // its owners have acquired
	Failed                       // it doesn't, or is not wanted
	OldPromotes                  // the old generation's word that this one is the main one
	OldRefuses                   // its word that this one is to leave
	OldGone                      // it is dead
	NewTick                      // a second is over
	newEventsEnd                 // for tests
)

// NewEffect is what the new side does.
type NewEffect uint8

// The effects of the new side.
const (
	Hasten   NewEffect = iota // end the probation: no generation serves
	SayReady                  // tell the old generation
	Acquire                   // let the owners acquire; ends with Acquired or Failed
	TakeOver                  // open the doors, and say so
	Inherit                   // take what the old generation has sent, late
	Leave                     // exit
)

// Step returns what n becomes, and what is to be done, in that order.
func (n New) Step(e NewEvent) (New, []NewEffect) {
	switch {
	case e == NewTick:
		n.Ticks++
	case e == OldGone:
		n.Alone = true
	}
	switch {
	case n.Phase == Candidate && e == Proven && n.Alone:
		return n.to(Acquiring, Acquire)
	case n.Phase == Candidate && e == Proven:
		return n.to(Awaiting, SayReady)
	case n.Phase == Candidate && (e == Failed || e == OldRefuses):
		return n.to(Left, Leave)
	case n.Phase == Candidate && e == OldGone:
		return n, []NewEffect{Hasten}
	case n.Phase == Awaiting && e == OldPromotes:
		n.Told = true
		return n.to(Acquiring, Acquire)
	case n.Phase == Awaiting && e == OldGone:
		return n.to(Acquiring, Acquire)
	case n.Phase == Awaiting && n.Trusts && !n.Owns && n.Ticks >= PromoteTicks:
		return n.to(Acquiring, Acquire)
	case (n.Phase == Awaiting || n.Phase == Acquiring) && n.Trusts && (e == Failed || e == OldRefuses):
		return n.to(Left, Leave)
	case n.Phase == Acquiring && e == Failed:
		return n.to(Left, Leave)
	case n.Phase == Acquiring && e == OldPromotes:
		n.Told = true
	case n.Phase == Acquiring && e == Acquired:
		return n.to(Main, TakeOver)
	case n.Phase == Main && e == OldPromotes && !n.Told:
		n.Told = true
		return n, []NewEffect{Inherit}
	}
	return n, nil
}

func (n New) to(p NewPhase, effects ...NewEffect) (New, []NewEffect) {
	n.Phase, n.Ticks = p, 0
	return n, effects
}
