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
	Noticed  bool // it has had them
	Live     bool // it is waited for
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
		line := Line{ID: p.ID, Interval: p.Interval(), Last: p.Last, Needs: m.needs(p), Live: life > 0}
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
