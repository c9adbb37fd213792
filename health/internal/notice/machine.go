// Package notice decides when the balancers have noticed a pull. It does no I/O, starts nothing and has no clock: each
// call says what happens and when.
package notice

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/ledger"
)

// Config is what the rule goes by; see the fields of that name in health.Config.
type Config struct {
	Failures         int
	PullMin, PullMax time.Duration
}

// Machine is the ledger and the present pull. Its times are durations since it was made, which never go back. It is not
// safe for concurrent use, but for Arrived.
type Machine struct {
	*ledger.Ledger
	Heartbeats int // ports that are open while not pulled

	cfg     Config
	arrived atomic.Int64 // when a visitor last came, or never

	pulls   uint64 // number of the last pull; the first is 1
	pulled  bool
	since   time.Duration            // when the present pull began
	bare    bool                     // the present pull waits for no visitor: see DropVisitors
	slowest time.Duration            // live prober's interval when the pull began; 0: unknown
	young   map[string]time.Duration // hosts of probers that were not known then; when they last sent another request

	watches  map[*Watch]struct{} // that can be told
	pending  int                 // of them, how many have not been told of the present pull
	lastTold time.Duration       // when one was, in the present pull
}

// never is the time of what has not happened. The time since then does not overflow.
const never = time.Duration(math.MinInt64 / 2)

// youngGrace is for the first request of a young balancer in a pull.
const youngGrace = time.Second

// New returns a machine that is not pulled.
func New(cfg Config) *Machine {
	m := &Machine{Ledger: ledger.New(), cfg: cfg, watches: make(map[*Watch]struct{})}
	m.arrived.Store(int64(never))
	return m
}

// Pull begins a pull.
func (m *Machine) Pull(now time.Duration) {
	m.pulled, m.bare = true, false
	m.pulls++
	m.since = now
	m.Judge(now)
	m.slowest = m.Slowest(now)
	// As if they had sent something 2 s ago: a balancer that sends to this node does so again soon.
	m.young = make(map[string]time.Duration)
	for p := range m.Young(now, m.assume(m.slowest)*3/2) {
		m.young[p.Host] = now - alone + youngGrace
	}
	m.pending, m.lastTold = len(m.watches), never
}

// Restore ends the pull.
func (m *Machine) Restore() { m.pulled, m.bare = false, false }

// DropVisitors makes the present pull not wait for probers that have come only once.
func (m *Machine) DropVisitors() { m.bare = true }

// Pulled reports whether there is a pull.
func (m *Machine) Pulled() bool { return m.pulled }

// Present returns the number of the present pull, 0 if there is none.
func (m *Machine) Present() uint64 {
	if m.pulled {
		return m.pulls
	}
	return 0
}

// Probe enters a probe. It returns nil where the ledger has no room for one more prober.
func (m *Machine) Probe(id identity.ID, now time.Duration) *ledger.Prober {
	return m.Seen(id, now, m.Present())
}

// Failed enters that p has had a failing answer in the pull of that number. That pull may be over.
func (m *Machine) Failed(p *ledger.Prober, pull uint64, now time.Duration) {
	if m.pulled && m.pulls == pull {
		p.Fail(now, pull, m.needs(p))
	}
}

// Arrived enters a visitor: a balancer still sends traffic here.
func (m *Machine) Arrived(now time.Duration) { m.arrived.Store(int64(now)) }

// Forwarded enters that a host has sent a probe for one of its clients. A balancer that does so still sends
// what its clients ask for, on a new connection each time.
func (m *Machine) Forwarded(host string, now time.Duration) {
	if m.pulled && m.Asks(host) {
		m.Arrived(now)
	}
}

// Visited enters a request of a host that is no probe.
func (m *Machine) Visited(remote string, now time.Duration) {
	if !m.pulled || len(m.young) == 0 {
		return
	}
	host := identity.Clip(identity.Host(remote))
	if _, ok := m.young[host]; ok {
		m.young[host] = now
	}
}

// Watch is a prober that is told of each change. Each stream has one, without a bound, so that they are not
// in the ledger: they would drive out its probers.
type Watch struct {
	identity.ID
	pull uint64 // number of the last pull that it was told of
}

// Watched enters a prober that has been told that all is well.
func (m *Machine) Watched(id identity.ID) *Watch {
	w := &Watch{ID: id.Clone()}
	m.watches[w] = struct{}{}
	if m.pulled {
		m.pending++
	}
	return w
}

// Told enters that w has been told to go away or, with gone, has ended. After that nothing more happens to it.
func (m *Machine) Told(w *Watch, gone bool, now time.Duration) {
	if _, open := m.watches[w]; !open {
		return
	}
	if gone {
		delete(m.watches, w)
	}
	if m.pulled && w.pull != m.pulls {
		w.pull = m.pulls
		m.pending--
		if !gone {
			m.lastTold = now
		}
	}
}
