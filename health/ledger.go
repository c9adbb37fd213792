package health

import (
	"container/list"
	"iter"
	"time"
)

const (
	maxProbers = 1024        // a scan from many addresses must not fill the memory
	maxHeirs   = 8           // see ledger.enter
	youngGrace = time.Second // for the first request of a young balancer in a pull
	maxCrowds  = 16          // that a pull searches for a rhythm, some milliseconds each
)

// ledger holds the probers, bounded. A prober without a rhythm never drives out one that has one,
// which drives out no other that is still live. So the balancers stay, whatever an outsider sends.
// It is not safe for concurrent use.
type ledger struct {
	index   map[identity]*list.Element
	steady  list.List // of *prober, those with a rhythm, the oldest acquaintance in front
	passing list.List // of *prober, the others, the one seen last in front

	opened time.Duration // when heartbeats could last begin to be seen
	beaten bool          // there has been one
}

func newLedger() ledger { return ledger{index: make(map[identity]*list.Element)} }

// seen enters a probe of id; pull is the number of the present pull, 0 if there is none. It returns
// nil where there is no room for one more.
func (l *ledger) seen(id identity, now time.Duration, pull uint64) *prober {
	l.beaten = l.beaten || id.kind == kindHeartbeat
	e, ok := l.index[id]
	if !ok {
		return l.enter(id, now, pull)
	}
	p := e.Value.(*prober)
	was := p.list(l)
	p.sight(now, pull, l.opened)
	l.place(e, was)
	return p
}

// enter makes a prober of an identity that is new.
func (l *ledger) enter(id identity, now time.Duration, pull uint64) *prober {
	if len(l.index) == maxProbers && !l.evict(now) {
		return nil
	}
	// The strings may be small parts of a large request.
	id = id.clone()
	p := &prober{identity: id, last: now, born: pull}
	// The version before this one did not say how its probers ask. Each that may be the one it knew
	// begins as that.
	plain := identity{kind: id.kind, host: id.host, agent: id.agent}
	if e, ok := l.index[plain]; ok && id.form != (form{}) && id.via == "" && e.Value.(*prober).heirs < maxHeirs {
		old := e.Value.(*prober)
		old.heirs++
		p.rhythm, p.last, p.born = old.rhythm.clone(), old.last, 0
		p.sight(now, pull, l.opened)
	} else {
		p.arrive(now)
	}
	l.insert(p)
	return p
}

func (l *ledger) insert(p *prober) {
	if in := p.list(l); in == &l.steady {
		l.index[p.identity] = in.PushBack(p)
	} else {
		l.index[p.identity] = in.PushFront(p)
	}
}

// place moves p into the list that it belongs into now, and to its place there.
func (l *ledger) place(e *list.Element, was *list.List) {
	p := e.Value.(*prober)
	if in := p.list(l); in == was && in == &l.steady {
		return
	}
	was.Remove(e)
	l.insert(p)
}

// evict makes room for one prober. It reports false if all are live and have a rhythm.
func (l *ledger) evict(now time.Duration) bool {
	if e := l.passing.Back(); e != nil {
		delete(l.index, l.passing.Remove(e).(*prober).identity)
		return true
	}
	for e := l.steady.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*prober); p.known(now) <= 0 {
			delete(l.index, l.steady.Remove(e).(*prober).identity)
			return true
		}
	}
	return false
}

// add takes over a prober that somebody else saw before l saw any of its own.
func (l *ledger) add(p *prober) {
	if _, ok := l.index[p.identity]; ok {
		return
	}
	in := p.list(l)
	if len(l.index) == maxProbers {
		e := l.passing.Back()
		if in == &l.passing || e == nil {
			return
		}
		delete(l.index, l.passing.Remove(e).(*prober).identity)
	}
	l.index[p.identity] = in.PushBack(p)
	l.beaten = l.beaten || p.kind == kindHeartbeat
}

// probers yields all: those with a rhythm first, in the order of the lists.
func (l *ledger) probers() iter.Seq[*prober] {
	return func(yield func(*prober) bool) {
		for _, in := range []*list.List{&l.steady, &l.passing} {
			for e := in.Front(); e != nil; e = e.Next() {
				if !yield(e.Value.(*prober)) {
					return
				}
			}
		}
	}
}

// direct reports whether somebody with a rhythm is live who asks by itself, not through a proxy.
func (l *ledger) direct(now time.Duration) bool {
	for e := l.steady.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*prober); p.kind == kindPing && p.via == "" && p.heirs == 0 && p.known(now) > 0 {
			return true
		}
	}
	return false
}

// asks reports whether a host is known for a rhythm of its own.
func (l *ledger) asks(host string) bool {
	for e := l.steady.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*prober); p.host == host && p.via == "" {
			return true
		}
	}
	return false
}

// slowest returns the interval of the slowest live prober, 0 if none is known. A pull keeps what it was at
// its beginning, so that who is dead stays dead until it is seen again.
func (l *ledger) slowest(now time.Duration) (slowest time.Duration) {
	for p := range l.probers() {
		if interval, _ := p.pace(); interval > 0 && p.known(now) > 0 {
			slowest = max(slowest, interval)
		}
	}
	return slowest
}

// young returns the hosts that have asked lately, but not often enough to be known, as if they had
// sent something 2 s ago: a balancer that sends to this node does so again soon.
func (l *ledger) young(now, assumed time.Duration) map[string]time.Duration {
	hosts := make(map[string]time.Duration)
	for e := l.passing.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*prober); p.kind == kindPing && p.via == "" && now-p.last < assumed+assumed/2 {
			hosts[p.host] = now - alone + youngGrace
		}
	}
	return hosts
}

// judge looks, at the beginning of a pull, once more at who asks lately, and at who shares an identity with others.
func (l *ledger) judge(now time.Duration) {
	crowds := 0
	for e := range l.probers() {
		e.mixed = false
		if now-e.last > longestGap {
			continue
		}
		if e.uneven > 0 && crowds < maxCrowds {
			crowds++
			e.analyze()
		}
		interval, _ := e.pace()
		e.mixed = interval > 0 && e.crowded(interval)
	}
}
