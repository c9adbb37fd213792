package drain

import (
	"os"
	"slices"
	"time"
)

// verb is what a signal asks for.
type verb string

const (
	verbSwap    verb = "swap"
	verbPull    verb = "pull"
	verbRestore verb = "restore"
	verbStop    verb = "stop"
)

// verb returns what sig asks for, or "".
func (sets *Signals) verb(sig os.Signal) verb {
	switch {
	case slices.Contains(sets.Swap, sig):
		return verbSwap
	case slices.Contains(sets.Pull, sig):
		return verbPull
	case slices.Contains(sets.Restore, sig):
		return verbRestore
	case slices.Contains(sets.Stop, sig):
		return verbStop
	}
	return ""
}

// pending is what was asked for and has to wait until a generation is ready, this one or the next.
// The order counts: a swap ends a pull that came before it, and not one that came after.
type pending struct {
	swap     bool
	pull     bool
	pullLast bool // the pull is later than the swap
	restored bool // no pull has come since
	stop     bool
}

func (p *pending) add(c verb) {
	switch c {
	case verbSwap:
		p.swap, p.pullLast = true, false
	case verbPull:
		p.pull, p.pullLast, p.restored = true, p.swap, false
	case verbRestore:
		p.pull, p.pullLast, p.restored = false, false, true
	case verbStop:
		p.stop = true
	}
}

// then adds what was asked for after p.
func (p *pending) then(later pending) {
	for _, v := range later.verbs() {
		p.add(v)
	}
}

// verbs are what is pending, in order.
func (p pending) verbs() (all []verb) {
	if p.restored {
		all = append(all, verbRestore)
	}
	if p.pull && !p.pullLast {
		all = append(all, verbPull)
	}
	if p.swap {
		all = append(all, verbSwap)
	}
	if p.pullLast {
		all = append(all, verbPull)
	}
	if p.stop {
		all = append(all, verbStop)
	}
	return all
}

// next is what is pending for the generation to which the swap in p leads.
func (p *pending) next() pending { return pending{pull: p.pullLast} }

const (
	// forwardTime is how long after its end as the main one a generation forwards signals: the
	// sender may have read the PID file before it was replaced.
	forwardTime = 2 * time.Second
	// lingerTime is how long a generation stays at least, to do so: a sender that has just read the
	// PID file must not find that there is no such process.
	lingerTime = 250 * time.Millisecond
)

// forward passes a command that came to generation by on to the main generation, and reports whether it did.
func (s *Service) forward(c verb, by int) bool {
	if !s.replaced() || time.Since(s.since) > forwardTime || !s.swap.peer.can(canForward) {
		return false
	}
	_ = s.swap.link.Post(message{Kind: kindForward, Signal: c, Generation: by})
	s.cfg.Logger.Info("forwarded to the main generation", "command", string(c))
	return true
}
