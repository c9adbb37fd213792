package ledger

import (
	"container/list"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/rhythm"
)

// ShortestLife keeps a prober that is faster than ten a second from being
// declared dead at the first pause of the scheduler.
const ShortestLife = 300 * time.Millisecond

// Prober is an entry of a ledger. Pulls have numbers, the first is 1; times are durations since the ledger began.
type Prober struct {
	identity.ID
	rhythm.Estimator
	Last   time.Duration // when it was last seen
	Born   uint64        // number of the pull in which it was first seen; 0 once it has had a good answer
	Mixed  bool          // others share the identity in the present pull
	Unwell bool          // its last answer said that the service is not healthy: it comes back at another pace
	Told   time.Duration // when it had the last failing answer that it needs

	in         *list.List // of the ledger's
	successors int        // of a prober without a form: how many have begun as a copy of it
	pull       uint64     // number of the pull that failed is about
	failed     int        // failing answers
}

// Replaced reports whether p came from an older version, and others have begun as copies of it.
func (p *Prober) Replaced() bool { return p.successors > 0 }

// seen enters a probe of p. Heartbeats before opened had no port.
func (p *Prober) seen(now time.Duration, pull uint64, opened time.Duration) {
	interval := p.Interval()
	switch {
	case pull == 0:
		p.Born = 0
	case interval > 0 && p.Failures(pull) == 0 && now-p.Last < interval*7/10:
		// The first failing answer is not on the beat, so it is not the balancer's recheck, which
		// comes after a failing answer.
		p.Mixed = true
	}
	// A prober may recheck faster, or slower, once it has had a failing answer.
	switch blind := p.Kind == identity.Heartbeat && p.Last < opened; {
	case blind, p.Unwell && interval > 0:
		p.Shift(now - p.Last)
	case pull == 0 || interval == 0:
		p.Arrive(now)
	}
	p.Last, p.successors, p.Unwell = now, 0, false
}

// Life returns how much longer p is live by its rhythm, 0 or less if it is not, or has none.
func (p *Prober) Life(now time.Duration) time.Duration {
	interval := p.Interval()
	if interval == 0 {
		return 0
	}
	life := 3 * interval
	if p.Count() < 4 && p.Kind != identity.Heartbeat { // two gaps may be even by chance
		life = interval + interval/2
	}
	return max(life, ShortestLife) - (now - p.Last)
}

// Fail enters a failing answer in the pull of that number, of the needed ones in all.
func (p *Prober) Fail(now time.Duration, pull uint64, needed int) {
	p.failed = p.Failures(pull) + 1
	p.pull = pull
	if p.failed <= needed {
		p.Told = now
	}
}

// Failures returns how many failing answers p has had in the pull of that number.
func (p *Prober) Failures(pull uint64) int {
	if p.pull != pull {
		return 0
	}
	return p.failed
}
