package machine

// Verb is what a command asks for. Generations forward it to each other by these names.
type Verb string

// The verbs.
const (
	Swap    Verb = "swap"
	Pull    Verb = "pull"
	Restore Verb = "restore"
	Stop    Verb = "stop"
)

// Pending is what was asked for and has to wait until a generation is ready, this one or the next.
// The order counts: a swap ends a pull that came before it, and not one that came after.
type Pending struct {
	Swap     bool
	Pull     bool
	PullLast bool // the pull is later than the swap
	Restored bool // no pull has come since
	Stop     bool
}

// Add adds what is asked for now.
func (p *Pending) Add(v Verb) {
	switch v {
	case Swap:
		p.Swap, p.PullLast = true, false
	case Pull:
		p.Pull, p.PullLast, p.Restored = true, p.Swap, false
	case Restore:
		p.Pull, p.PullLast, p.Restored = false, false, true
	case Stop:
		p.Stop = true
	}
}

// Then adds what was asked for after p.
func (p *Pending) Then(later Pending) {
	for _, v := range later.Verbs() {
		p.Add(v)
	}
}

// Verbs are what is pending, in order.
func (p Pending) Verbs() (all []Verb) {
	if p.Restored {
		all = append(all, Restore)
	}
	if p.Pull && !p.PullLast {
		all = append(all, Pull)
	}
	if p.Swap {
		all = append(all, Swap)
	}
	if p.PullLast {
		all = append(all, Pull)
	}
	if p.Stop {
		all = append(all, Stop)
	}
	return all
}

// AfterSwap is what is pending for the generation to which the swap in p leads.
func (p Pending) AfterSwap() Pending { return Pending{Pull: p.PullLast} }
