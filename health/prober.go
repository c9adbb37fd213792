package health

import (
	"cmp"
	"container/list"
	"slices"
	"time"
)

// shortestLife keeps a prober that is faster than ten a second from being
// declared dead at the first pause of the scheduler.
const shortestLife = 300 * time.Millisecond

// The kinds of probers.
const (
	kindPing      = "ping"
	kindAgent     = "agent"
	kindHeartbeat = "heartbeat"
	kindWatch     = "watch"
)

// Prober is one line of the ledger. Its kind is that of Probed, ServeAgent, Heartbeat or Watched; HTTP is "ping", too.
type Prober struct {
	Kind      string        `json:"kind"` // "ping" (and Probed), "agent", "heartbeat" or "watch"
	Host      string        `json:"host"` // "unix" for all unix sockets; "" for a heartbeat never seen
	UserAgent string        `json:"user_agent"`
	Form      string        `json:"form,omitempty"` // method, version, Host, sum of header names
	Via       string        `json:"via,omitempty"`  // for whom Host says to have forwarded it
	Interval  time.Duration `json:"interval_ns"`    // 0 while unknown
	LastSeen  time.Time     `json:"last_seen"`      // now, if unseen
	Failures  int           `json:"failures"`       // failing answers in this pull; of a heartbeat by its interval
	Needs     int           `json:"needs"`          // Config.Failures; of an agent and a watch 1
	Noticed   bool          `json:"noticed"`        // it has had them
	Live      bool          `json:"live"`           // seen lately enough to be waited for
}

// Probers returns the ledger, by host, kind and User-Agent. It holds 1024 probers, those with a rhythm first and then
// those seen last, and as many that watch.
func (s *State) Probers() []Prober {
	s.mu.Lock()
	defer s.mu.Unlock()
	var (
		clock   = time.Now()
		now     = clock.Sub(s.born)
		slowest = s.slowest
		direct  = s.ledger.direct(now)
		out     = make([]Prober, 0, len(s.ledger.index))
	)
	if !s.pulled {
		slowest = s.ledger.slowest(now)
	}
	for p := range s.watching(now) {
		if p.heirs > 0 {
			continue
		}
		interval, _ := p.pace()
		line := Prober{
			Kind:      p.kind,
			Host:      p.host,
			UserAgent: p.agent,
			Form:      p.form.String(),
			Via:       p.via,
			Interval:  interval,
			LastSeen:  clock.Add(p.last - now),
			Needs:     p.needs(s.cfg.Failures),
		}
		if s.pulled {
			line.Failures = p.failures(s.pulls)
			if p.kind == kindHeartbeat {
				line.Failures = s.missed(p, now)
			}
			line.Noticed = line.Failures >= line.Needs && s.due(p) <= now-s.since
		}
		_, life := s.life(p, slowest, direct, now)
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
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UserAgent, b.UserAgent),
			cmp.Compare(a.Form, b.Form), cmp.Compare(a.Via, b.Via))
	})
	return out
}

type prober struct {
	identity
	rhythm
	last   time.Duration // when it was last seen
	born   uint64        // number of the pull in which it was first seen; 0 once it has had a good answer
	heirs  int           // of a line without a form: how many have begun as this one
	mixed  bool          // others share the identity in the present pull
	pull   uint64        // number of the pull that failed is about
	failed int           // failing answers
	told   time.Duration // when it had the last failing answer that it needs
}

// list returns which of the ledger's lists p belongs into.
func (p *prober) list(l *ledger) *list.List {
	if interval, _ := p.pace(); interval > 0 {
		return &l.steady
	}
	return &l.passing
}

// sight enters a probe of p. Heartbeats before opened had no port.
func (p *prober) sight(now time.Duration, pull uint64, opened time.Duration) {
	interval, _ := p.pace()
	switch {
	case pull == 0:
		p.born = 0
	case interval > 0 && p.failures(pull) == 0 && now-p.last < interval*7/10:
		// The first failing answer is not on the beat, so it is not the balancer's recheck, which
		// comes after a failing answer.
		p.mixed = true
	}
	// A prober may recheck faster, or slower, once it has had a failing answer.
	switch blind := p.kind == kindHeartbeat && p.last < opened; {
	case blind:
		p.rhythm = p.rhythm.shifted(now - p.last)
	case pull == 0 || interval == 0:
		p.arrive(now)
	}
	p.last, p.heirs = now, 0
}

// known returns how much longer p is live by its rhythm, 0 or less if it is not, or has none.
func (p *prober) known(now time.Duration) time.Duration {
	interval, _ := p.pace()
	if interval == 0 {
		return 0
	}
	life := 3 * interval
	if len(p.times) < 4 && p.kind != kindHeartbeat { // two gaps may be even by chance
		life = interval + interval/2
	}
	return max(life, shortestLife) - (now - p.last)
}

func (p *prober) failures(pull uint64) int {
	if p.pull != pull {
		return 0
	}
	return p.failed
}

func (p *prober) needs(failures int) int {
	if p.kind == kindAgent {
		return 1
	}
	return failures
}
