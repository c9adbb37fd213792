package notice

import (
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/ledger"
)

// Line is what the machine knows of one prober.
type Line struct {
	identity.ID
	Interval time.Duration // 0 while unknown
	Last     time.Duration // when it was last seen
	Failures int           // failing answers in this pull; of a heartbeat by its interval
	Needs    int
	Noticed  bool          // it has had them
	Live     bool          // it is waited for
	Life     time.Duration // how much longer, unless it comes again
	Visits   int           // lately
}

// Awaited is what a pull waits for that has not been noticed.
type Awaited struct {
	Probers      []Line // that have not had enough failing answers
	Least        bool   // PullMin is not over
	Since, Until time.Duration
}

// Awaited returns what the present pull waits for. Where Wait says that it does not, that means nothing.
func (m *Machine) Awaited(now time.Duration) Awaited {
	a := Awaited{Least: now-m.since < m.cfg.PullMin, Since: m.since, Until: m.since + m.cfg.PullMax}
	known, life := false, time.Duration(0)
	for _, l := range m.Lines(now) {
		if l.Live && !l.Noticed {
			a.Probers = append(a.Probers, l)
			known = known || l.Interval > 0 || l.Kind != identity.Ping
			life = max(life, l.Life)
		}
	}
	if len(a.Probers) > 0 && !known { // none of them is sure to come again
		a.Until = min(a.Until, max(now+life, m.since+m.cfg.PullMin))
	} else if a.Least && len(a.Probers) == 0 {
		a.Until = m.since + m.cfg.PullMin
	}
	return a
}

// Outcome is how the wait for the probers has ended.
type Outcome int

// The outcomes.
const (
	Unasked Outcome = iota // there is no prober that has had a failing answer
	Noticed                // by all probers
	Overdue                // not by all: PullMax is over
)

// Outcome returns why the present pull, of which Wait says that it is noticed, is.
func (m *Machine) Outcome(now time.Duration) Outcome {
	out := Unasked
	over := now-m.since >= m.cfg.PullMax
	for _, l := range m.Lines(now) {
		switch {
		case over && l.Live && (!l.Noticed || m.quiet(l.Interval, now) > 0):
			out = Overdue
		case l.Failures > 0: // perhaps it asks no more
			out = max(out, Noticed)
		}
	}
	return out
}

// Lines returns a line for each prober of the ledger, in its order, and as many that watch as the ledger may hold.
func (m *Machine) Lines(now time.Duration) []Line {
	slowest, direct := m.slowest, m.Direct(now)
	if !m.pulled {
		slowest = m.Slowest(now)
	}
	lines := make([]Line, 0, m.Len())
	for p := range m.watching(now) {
		if p.Replaced() {
			continue
		}
		_, life := m.life(p, slowest, direct, now)
		line := Line{ID: p.ID, Interval: p.Interval(), Last: p.Last, Needs: m.needs(p), Live: life > 0, Life: life,
			Visits: p.Count()}
		if m.pulled {
			line.Failures = m.failures(p, now)
			line.Noticed = line.Failures >= line.Needs && m.due(p) <= now-m.since
		}
		lines = append(lines, line)
	}
	for w := range m.watches {
		if len(lines) >= 2*ledger.MaxProbers {
			break
		}
		line := Line{ID: w.ID, Last: now, Needs: 1, Live: true}
		if m.pulled && w.pull == m.pulls {
			line.Failures, line.Noticed = 1, true
		}
		lines = append(lines, line)
	}
	return lines
}

// failures returns how many failing answers p has had in this pull; of a heartbeat, how many must have failed by now.
func (m *Machine) failures(p *ledger.Prober, now time.Duration) int {
	if p.Kind != identity.Heartbeat {
		return p.Failures(m.pulls)
	}
	n, reach := m.cfg.Failures, m.failureTime(p)
	if gone := now - m.since; gone < reach {
		return int(float64(n) * float64(gone) / float64(reach))
	}
	return n
}
