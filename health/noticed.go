package health

import (
	"cmp"
	"math"
	"time"
)

// Noticed returns a channel that is closed when the present pull has been
// noticed, or when its PullMax is over; the package comment has the rule. Each
// pull has its own channel. It is nil, and so blocks forever, while not pulled,
// and it is never closed where a Restore comes first.
func (s *State) Noticed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.noticed
}

// Arrived tells the State that a new connection, other than a prober's, has
// brought its first request: somebody still sends traffic here, so a pull is
// not noticed for nine tenths of a probe interval more. A service that never
// calls it does without that part of the rule. It is cheap, and cheap to call when not pulled.
func (s *State) Arrived() {
	// An arrival only ever puts things off: the timer finds it here when it fires.
	s.arrived.Store(int64(s.now()))
}

// Visited tells the State that a request other than a probe has come from remote, on whatever
// connection. While pulled, the State takes a host for a balancer that has just begun, as long as
// it sends requests, if it has asked for the route, but not often enough to be known. It is cheap,
// and does nothing when not pulled.
func (s *State) Visited(remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pulled || len(s.young) == 0 {
		return
	}
	host := clip(hostOf(remote))
	if _, ok := s.young[host]; ok {
		s.young[host] = s.now() // puts things off only: the timer finds it
	}
}

// answered records that p has had a failing answer in the pull of that number.
func (s *State) answered(p *prober, pull uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pulled || s.pulls != pull {
		return // restored while the answer was being written
	}
	if p.pull != pull {
		p.pull, p.failed = pull, 0
	}
	if p.failed++; p.failed <= p.needs(s.cfg.Failures) {
		p.told = s.now()
	}
	s.settle()
}

// wake is the timer's. It may come late, in another pull: settling is right at
// any time.
func (s *State) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
}

// settle closes noticed if the pull has been noticed, and otherwise sets the
// timer for when that may have changed by itself. s.mu is held.
func (s *State) settle() {
	if !s.pulled || s.settled {
		return
	}
	wait := s.wait(s.now())
	switch {
	case wait <= 0:
		s.settled = true
		close(s.noticed)
		if s.timer != nil {
			s.timer.Stop()
		}
	case s.timer == nil:
		s.timer = time.AfterFunc(wait, s.wake)
	default:
		s.timer.Reset(wait)
	}
}

// wait returns how long nothing can change unless a probe comes in, and 0 or
// less if the pull has been noticed. s.mu is held.
func (s *State) wait(now time.Duration) time.Duration {
	over := s.cfg.PullMax - (now - s.since)
	if over <= 0 {
		return 0
	}
	var (
		noticed = s.untold == 0
		slowest time.Duration                      // interval of the slowest live prober
		death   = over                             // until one of the live ones no longer is, or has failed unseen
		acted   = s.lastTold + longestMargin - now // until all of them have had the time to act on what they were told
	)
	direct := s.ledger.direct(now)
	for p := range s.watching(now) {
		interval, life := s.life(p, s.slowest, direct, now)
		if life <= 0 {
			continue
		}
		slowest = max(slowest, interval)
		if known, _ := p.pace(); p.born == 0 {
			s.slowest = max(s.slowest, known) // it may have been a beginner when the pull came
		}
		if p.kind == kindHeartbeat {
			if due := s.reach(p) - (now - s.since); due > 0 {
				noticed, death = false, min(death, due)
			}
			continue
		}
		death = min(death, life)
		if due := s.due(p) - (now - s.since); due > 0 {
			noticed, death = false, min(death, due)
		}
		noticed = noticed && p.failures(s.pulls) >= p.needs(s.cfg.Failures)
		acted = max(acted, p.told+margin(cmp.Or(interval, alone))-now)
	}
	if !noticed {
		return death
	}
	least := s.cfg.PullMin - (now - s.since)
	quiet := slowest*9/10 - (now - time.Duration(s.arrived.Load()))
	return min(death, max(least, quiet, acted))
}

// life returns the interval of p, 0 if it is unknown, and how much longer p is live: waited for; 0
// or less if it is not. Slowest is the interval of the slowest known prober. Of a heartbeat whose
// interval is unknown the interval is assumed; a prober behind a proxy is not waited for where
// somebody asks directly.
func (s *State) life(p *prober, slowest time.Duration, direct bool, now time.Duration) (interval, life time.Duration) {
	interval, _ = p.pace()
	life = p.known(now)
	switch {
	case p.kind == kindHeartbeat:
		if s.pulled {
			now = s.since // it can't be seen since then
		}
		if interval == 0 {
			assumed := s.assume(slowest)
			return assumed, max(assumed+assumed/2, shortestLife) - (now - p.last)
		}
		return interval, p.known(now)
	case p.heirs > 0 || p.via != "" && direct:
		return interval, 0
	case interval > 0:
		return interval, life
	}
	// It was seen once or twice, or now and then. A balancer that has just begun is back soon.
	patience := s.patience(slowest)
	life = patience - (now - p.last)
	if !s.pulled {
		return 0, life
	}
	if sends := s.sends(p, now); sends > 0 {
		assumed := s.assume(slowest)
		return 0, max(life, min(sends, assumed+assumed/2-(now-p.last)))
	}
	end := patience // after the beginning of the pull
	twice := len(p.times) == 2 && p.gap(0) <= patience
	if twice {
		interval = p.gap(0)
		end = max(end, p.last-s.since+interval+interval/2)
	}
	if p.born > 0 { // it has never heard that all is well
		if !twice {
			return 0, 0
		}
		end = min(end, max(patience, times(s.cfg.Failures+1, slowest)))
	}
	return interval, min(life, end-(now-s.since))
}

// sends returns how much longer p, whose interval is unknown, is a balancer that has just begun because its host sends
// requests, too.
func (s *State) sends(p *prober, now time.Duration) time.Duration {
	last, ok := s.young[p.host]
	if !ok || p.born > 0 || p.kind != kindPing {
		return 0
	}
	return last + alone - now
}

// alone is how long somebody without a rhythm is waited for where nobody has one.
const alone = 3 * time.Second

// patience is how long somebody without a rhythm is waited for. Balancers that stand side by side are mostly set alike.
func (s *State) patience(slowest time.Duration) time.Duration {
	if slowest == 0 {
		return alone
	}
	return max(slowest+slowest/2, shortestLife)
}

// due returns how long after the beginning of the pull p, no heartbeat, has noticed at the
// earliest, whatever answers it has had: where others share its identity nobody knows whose they
// were.
func (s *State) due(p *prober) time.Duration {
	interval, longest := p.pace()
	switch {
	case p.kind != kindPing:
		return 0
	case interval > 0 && p.mixed:
		return times(s.cfg.Failures, longest) + margin(interval)
	case interval == 0 && len(p.times) > 3:
		return max(s.patience(s.slowest), min(s.sends(p, s.since), s.assume(s.slowest)*3/2))
	}
	return 0
}

// times returns n times d, or more than any pull lasts.
func times(n int, d time.Duration) time.Duration {
	if d > 0 && n > int(math.MaxInt64/d) {
		return math.MaxInt64
	}
	return time.Duration(n) * d
}

// longestMargin is that of a watch, too.
const longestMargin = 100 * time.Millisecond

// margin is what a balancer gets to read its last failing answer and to act on it. Without it, and with a quiet time of
// a whole interval, a real HAProxy took the node out up to 2 ms after the notice where no connection came in, and up to
// 1.02 intervals before it where many did: the last connection comes a little after the last failing answer, and the
// gaps between the probes of a busy machine are longer than the interval that they are set to.
func margin(interval time.Duration) time.Duration { return min(interval/10, longestMargin) }
