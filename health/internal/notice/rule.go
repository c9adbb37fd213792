package notice

import (
	"cmp"
	"iter"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/ledger"
	"github.com/baton-go/baton/health/internal/rhythm"
)

// alone is how long a prober without a rhythm is waited for where none has one.
const alone = 3 * time.Second

// Wait returns how long nothing can change unless something comes in. It is 0 or less if the pull has
// been noticed.
func (m *Machine) Wait(now time.Duration) time.Duration {
	over := m.cfg.PullMax - (now - m.since)
	if over <= 0 {
		return 0
	}
	var (
		noticed = m.pending == 0
		slowest time.Duration                      // interval of the slowest live prober
		death   = over                             // until one of the live ones no longer is, or has failed unseen
		acted   = m.lastTold + longestMargin - now // until all of them have had the time to act on what they were told
	)
	direct := m.Direct(now)
	for p := range m.watching(now) {
		interval, life := m.life(p, m.slowest, direct, now)
		if life <= 0 {
			continue
		}
		slowest = max(slowest, interval)
		if p.Born == 0 {
			m.slowest = max(m.slowest, p.Interval()) // it may have been a beginner when the pull came
		}
		due := m.due(p) - (now - m.since)
		if p.Kind != identity.Heartbeat {
			death = min(death, life)
			noticed = noticed && p.Failures(m.pulls) >= m.needs(p)
			acted = max(acted, p.Told+margin(cmp.Or(interval, alone))-now)
		}
		if due > 0 {
			noticed, death = false, min(death, due)
		}
	}
	if !noticed {
		return death
	}
	least := m.cfg.PullMin - (now - m.since)
	return min(death, max(least, m.quiet(slowest, now), acted))
}

// quiet returns for how much longer no visitor may arrive, for a prober of that interval.
func (m *Machine) quiet(interval, now time.Duration) time.Duration {
	return interval*9/10 - (now - time.Duration(m.arrived.Load()))
}

// watching yields the probers of the ledger. While no heartbeat has been seen on an open port, it also
// yields the one that may exist: last, since what is assumed of it depends on the others.
func (m *Machine) watching(now time.Duration) iter.Seq[*ledger.Prober] {
	return func(yield func(*ledger.Prober) bool) {
		for p := range m.Probers() {
			if !yield(p) {
				return
			}
		}
		if m.Heartbeats > 0 && !m.HeartbeatSeen() {
			yield(&ledger.Prober{ID: identity.ID{Kind: identity.Heartbeat}, Last: now})
		}
	}
}

// life returns the interval of p, 0 if it is unknown, and how much longer p is live, which means waited
// for; 0 or less if it is not. Slowest is the interval of the slowest known prober. For a heartbeat
// without a known interval, life assumes one. It does not wait for a prober behind a proxy if another
// prober asks directly.
func (m *Machine) life(p *ledger.Prober, slowest time.Duration, direct bool, now time.Duration) (interval,
	life time.Duration) {
	interval = p.Interval()
	switch {
	case m.bare && p.Count() < 2:
		return interval, 0
	case p.Kind == identity.Heartbeat:
		if m.pulled {
			now = m.since // it can't be seen since then
		}
		if interval == 0 {
			assumed := m.assume(slowest)
			return assumed, max(assumed*3/2, ledger.ShortestLife) - (now - p.Last)
		}
		return interval, p.Life(now)
	case p.Replaced() || p.Via != "" && direct:
		return interval, 0
	case interval > 0:
		return interval, p.Life(now)
	}
	// It was seen once or twice, or now and then. A balancer that has just begun comes back soon.
	patience := m.patience(slowest)
	life = patience - (now - p.Last)
	if !m.pulled {
		return 0, life
	}
	end := patience // after the beginning of the pull
	twice := p.Count() == 2 && p.Gap(0) <= patience
	if twice {
		interval = p.Gap(0)
		end = max(end, p.Last-m.since+interval*3/2)
	}
	if p.Born > 0 { // it has never heard that all is well
		if !twice {
			return 0, 0
		}
		end = min(end, max(patience, rhythm.Times(m.cfg.Failures+1, slowest)))
	}
	life = min(life, end-(now-m.since))
	if sends := m.sends(p, now); sends > 0 {
		return 0, max(life, min(sends, m.assume(slowest)*3/2-(now-p.Last)))
	}
	return interval, life
}

// sends returns how much longer p, which has no interval yet, is taken for a balancer that has just begun
// because its host sends requests, too.
func (m *Machine) sends(p *ledger.Prober, now time.Duration) time.Duration {
	last, ok := m.young[p.Host]
	if !ok || p.Born > 0 || p.Kind != identity.Ping {
		return 0
	}
	return last + alone - now
}

// patience is how long a prober without a rhythm is waited for. Balancers side by side are mostly set alike.
func (m *Machine) patience(slowest time.Duration) time.Duration {
	if slowest == 0 {
		return alone
	}
	return max(slowest*3/2, ledger.ShortestLife)
}

// assume returns the interval of a heartbeat that has none yet. It is that of the slowest live prober:
// balancers side by side are mostly set alike. Without one it is a third of PullMax: an operator with
// slower balancers has set a longer PullMax.
func (m *Machine) assume(slowest time.Duration) time.Duration {
	if slowest == 0 {
		return m.cfg.PullMax / 3
	}
	return slowest
}

// needs returns how many failing answers p needs. HAProxy heeds the first answer to an agent-check.
func (m *Machine) needs(p *ledger.Prober) int {
	if p.Kind == identity.Agent {
		return 1
	}
	return m.cfg.Failures
}

// due returns how long after the beginning of the pull p has noticed at the earliest, whatever answers
// it has had. A heartbeat has none, and in a crowd an answer may have been another prober's.
func (m *Machine) due(p *ledger.Prober) time.Duration {
	interval := p.Interval()
	switch {
	case p.Kind == identity.Heartbeat:
		return m.failureTime(p)
	case p.Kind != identity.Ping:
		return 0
	case interval > 0 && p.Mixed:
		return rhythm.Times(m.cfg.Failures, p.Longest()) + margin(interval)
	case interval == 0 && p.Count() > 3:
		return max(m.patience(m.slowest), min(m.sends(p, m.since), m.assume(m.slowest)*3/2))
	}
	return 0
}

// failureTime returns how long after the beginning of the pull p, a heartbeat, has failed often enough,
// and its balancer has had a moment to act. It counts from the last heartbeat that was seen. A prober that
// has come once or twice is a balancer that has just begun, or a scan of the ports. It can hold a pull
// for 6 s, or for three intervals of the slowest known prober.
func (m *Machine) failureTime(p *ledger.Prober) time.Duration {
	known, interval := p.Interval(), p.Longest()
	most := m.cfg.PullMax
	switch {
	case known > 0:
	case p.Host == "":
		interval, most = m.assume(m.slowest), most/2
	default:
		interval, most = m.assume(m.slowest), 2*m.patience(m.slowest)
	}
	n := time.Duration(m.cfg.Failures)
	if interval <= 0 || n >= most/interval {
		return most
	}
	switch ago := m.since - p.Last; {
	case known == 0:
		return n*interval + margin(interval)
	case ago <= interval:
		return n*interval + margin(interval) - ago
	default: // late or lost: the next comes at the end of this interval at the latest
		return n*interval - ago%interval
	}
}

// longestMargin is that of a watch, too.
const longestMargin = 100 * time.Millisecond

// margin is the time for a balancer to read its last failing answer and to act on it. Without it, a real
// HAProxy took the node out up to 2 ms after the notice where no connection came in. With a quiet time of a
// whole interval, it did so up to 1.02 intervals before the notice where many came in. The last connection
// comes a little after the last failing answer, and on a busy machine the gaps between probes are longer
// than the interval that is set.
func margin(interval time.Duration) time.Duration { return min(interval/10, longestMargin) }
