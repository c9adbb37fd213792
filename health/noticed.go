package health

import "time"

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
		death   = over                             // until the first of the live ones no longer is, or has failed in silence
		acted   = s.lastTold + longestMargin - now // until all of them have had the time to act on what they were told
	)
	for p := range s.watching(now) {
		interval, life := p.pace(s.assumed, s.lastSight(p, now))
		if life <= 0 {
			continue
		}
		slowest = max(slowest, interval)
		if p.kind == kindHeartbeat {
			if due := s.reach(p) - (now - s.since); due > 0 {
				noticed, death = false, min(death, due)
			}
			continue
		}
		death = min(death, life)
		noticed = noticed && p.failures(s.pulls) >= p.needs(s.cfg.Failures)
		acted = max(acted, p.told+margin(interval)-now)
	}
	if !noticed {
		return death
	}
	least := s.cfg.PullMin - (now - s.since)
	quiet := slowest*9/10 - (now - time.Duration(s.arrived.Load()))
	return min(death, max(least, quiet, acted))
}

// longestMargin is that of who is told, too.
const longestMargin = 100 * time.Millisecond

// margin is what a balancer gets to read its last failing answer and to act on it. Without it, and with a quiet time of
// a whole interval, a real HAProxy took the node out up to 2 ms after the notice where no connection came in, and up to
// 1.02 intervals before it where many did: the last connection comes a little after the last failing answer, and the
// gaps between the probes of a busy machine are longer than the interval that they are set to.
func margin(interval time.Duration) time.Duration { return min(interval/10, longestMargin) }
