package health

import (
	"cmp"
	"container/list"
	"iter"
	"slices"
	"strings"
	"time"
)

const (
	maxProbers = 1024 // a scan from many addresses must not fill the memory
	maxText    = 256  // bytes kept of a host or User-Agent

	// shortestLife keeps a prober that is faster than ten a second from being
	// declared dead at the first pause of the scheduler.
	shortestLife = 300 * time.Millisecond
)

// The kinds of probers.
const (
	kindPing      = "ping"
	kindAgent     = "agent"
	kindHeartbeat = "heartbeat"
	kindWatch     = "watch"
)

// Prober is one line of the ledger.
type Prober struct {
	Kind      string        `json:"kind"` // "ping" by HTTP, or see Probed; "agent", "heartbeat" and "watch" see ServeAgent, Heartbeat and Watched
	Host      string        `json:"host"` // "unix" for all clients of unix sockets; empty for a heartbeat that may be there unseen
	UserAgent string        `json:"user_agent"`
	Interval  time.Duration `json:"interval_ns"` // 0 while unknown
	LastSeen  time.Time     `json:"last_seen"`   // now, if unseen
	Failures  int           `json:"failures"`    // failing answers it has had in the present pull; of a heartbeat those it must have had by its interval
	Needs     int           `json:"needs"`       // failing answers it must have had; a multiple of Config.Failures if several share this line; of an agent and a watch 1
	Noticed   bool          `json:"noticed"`     // it has had them
	Live      bool          `json:"live"`        // seen lately enough to be waited for
}

// Probers returns the ledger, by host, kind and User-Agent. It holds the 1024 probers
// seen last, and as many that watch.
func (s *State) Probers() []Prober {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		clock   = time.Now()
		now     = clock.Sub(s.born)
		assumed = s.assumed
		out     = make([]Prober, 0, len(s.ledger.index))
	)
	if !s.pulled {
		assumed = s.ledger.assume(now, s.cfg.PullMax)
	}
	for p := range s.watching(now) {
		line := Prober{
			Kind:      p.kind,
			Host:      p.host,
			UserAgent: p.agent,
			Interval:  p.interval,
			LastSeen:  clock.Add(p.last - now),
			Needs:     p.needs(s.cfg.Failures),
		}
		if s.pulled {
			line.Failures = p.failures(s.pulls)
			if p.kind == kindHeartbeat {
				line.Failures = s.missed(p, now)
			}
			line.Noticed = line.Failures >= line.Needs
		}
		_, life := p.pace(assumed, s.lastSight(p, now))
		line.Live = life > 0
		out = append(out, line)
	}
	for w := range s.watches {
		if len(out) >= 2*maxProbers {
			break
		}
		out = append(out, s.line(w, clock))
	}
	slices.SortFunc(out, func(a, b Prober) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UserAgent, b.UserAgent))
	})
	return out
}

// identity is what makes two probes the same prober's.
type identity struct{ kind, host, agent string }

// identify returns whose probe it is; not ok if it is our own.
func identify(kind, remote, agent string) (id identity, ok bool) {
	if remote == "pipe" {
		return identity{}, false
	}
	host := remote
	switch {
	case host == "" || host[0] == '@' || host[0] == '/':
		host = "unix"
	case host[0] == '[':
		host, _, _ = strings.Cut(host[1:], "]")
	case strings.Count(host, ":") == 1: // with more it is an IPv6 address that some middleware put there
		host, _, _ = strings.Cut(host, ":")
	}
	return identity{kind, clip(host), clip(agent)}, true
}

// clip bounds s and makes it survive JSON unchanged.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "?")
}

type prober struct {
	identity
	rhythm
	last   time.Duration // when it was last seen
	pull   uint64        // number of the pull that failed is about
	failed int           // failing answers
	told   time.Duration // when it had the last failing answer that it needs
}

// pace returns the interval of p, assumed if it is unknown, and how much longer
// p is live; 0 or less if it is not.
func (p *prober) pace(assumed, now time.Duration) (interval, life time.Duration) {
	interval, life = p.interval, 3*p.interval
	if p.interval == 0 {
		interval, life = assumed, assumed+assumed/2
	}
	return interval, max(life, shortestLife) - (now - p.last)
}

// lastSight returns until when p could be seen.
func (s *State) lastSight(p *prober, now time.Duration) time.Duration {
	if s.pulled && p.kind == kindHeartbeat {
		return s.since
	}
	return now
}

func (p *prober) failures(pull uint64) int {
	if p.pull != pull {
		return 0
	}
	return p.failed
}

func (p *prober) needs(failures int) int {
	switch p.kind {
	case kindAgent:
		failures = 1
	case kindHeartbeat: // in the time that one of them takes, they all do
		return failures
	}
	return failures * max(1, p.voices)
}

// ledger holds the probers, bounded. It is not safe for concurrent use.
type ledger struct {
	index map[identity]*list.Element
	order list.List // of *prober, the one seen last in front

	opened time.Duration // when heartbeats could last begin to be seen
	beaten bool          // there has been one
}

func newLedger() ledger { return ledger{index: make(map[identity]*list.Element)} }

// seen enters a probe of id.
func (l *ledger) seen(id identity, now time.Duration, pulled bool) *prober {
	l.beaten = l.beaten || id.kind == kindHeartbeat
	e, ok := l.index[id]
	if !ok {
		if len(l.index) == maxProbers {
			delete(l.index, l.order.Remove(l.order.Back()).(*prober).identity)
		}
		// The strings may be small parts of a large request.
		id = identity{id.kind, strings.Clone(id.host), strings.Clone(id.agent)}
		p := &prober{identity: id, last: now}
		l.index[id] = l.order.PushFront(p)
		return p
	}
	l.order.MoveToFront(e)
	p := e.Value.(*prober)
	// A prober may recheck faster, or slower, once it has had a failing answer.
	blind := p.kind == kindHeartbeat && p.last < l.opened
	if (!pulled || p.interval == 0) && !blind {
		p.learn(now - p.last)
	}
	p.last = now
	return p
}

// add takes over a prober that somebody else saw before l saw any of its own.
func (l *ledger) add(p *prober) {
	if _, ok := l.index[p.identity]; ok || len(l.index) == maxProbers {
		return
	}
	l.index[p.identity] = l.order.PushBack(p)
	l.beaten = l.beaten || p.kind == kindHeartbeat
}

// probers yields all, the one seen last first.
func (l *ledger) probers() iter.Seq[*prober] {
	return func(yield func(*prober) bool) {
		for e := l.order.Front(); e != nil; e = e.Next() {
			if !yield(e.Value.(*prober)) {
				return
			}
		}
	}
}

// assume returns what to think of an interval that is unknown: it is that of
// the slowest live prober, since balancers that stand side by side are mostly
// set alike, and where there is none a third of pullMax, since whoever has
// slower balancers has set a longer pullMax. A pull keeps what it assumed at
// its beginning, so that who is dead stays dead until it is seen again.
func (l *ledger) assume(now, pullMax time.Duration) time.Duration {
	var slowest time.Duration
	for p := range l.probers() {
		if _, life := p.pace(0, now); p.interval > 0 && life > 0 {
			slowest = max(slowest, p.interval)
		}
	}
	if slowest == 0 {
		return pullMax / 3
	}
	return slowest
}
