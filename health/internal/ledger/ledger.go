// Package ledger keeps the probers of a service: their identities, their rhythms, and the answers that they had.
package ledger

import (
	"container/list"
	"iter"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/rhythm"
)

// MaxProbers is how many a ledger holds at most: a scan from many addresses must not fill the memory.
const MaxProbers = 1024

const (
	maxSuccessors = 8  // see enter
	maxCrowds     = 16 // that a pull searches for a rhythm, some milliseconds each
)

// Ledger holds the probers, bounded. A prober without a rhythm never drives out one that has one,
// which drives out no other that is still live. So the balancers stay, whatever an outsider sends.
// It is not safe for concurrent use.
type Ledger struct {
	index     map[identity.ID]*list.Element
	regular   list.List // of *Prober, with a rhythm: the first to have one in front
	irregular list.List // of *Prober, without: the last seen in front

	opened        time.Duration // when heartbeats could last begin to be seen
	heartbeatSeen bool
}

// New returns an empty ledger.
func New() *Ledger { return &Ledger{index: make(map[identity.ID]*list.Element)} }

// Len returns how many probers l holds.
func (l *Ledger) Len() int { return len(l.index) }

// Opened tells l that a port for heartbeats is open from now on: no heartbeat could come before.
func (l *Ledger) Opened(now time.Duration) { l.opened = now }

// HeartbeatSeen reports whether there has ever been a heartbeat.
func (l *Ledger) HeartbeatSeen() bool { return l.heartbeatSeen }

// Seen enters a probe of id; pull is the number of the present pull, 0 if there is none. It returns
// nil where there is no room for one more.
func (l *Ledger) Seen(id identity.ID, now time.Duration, pull uint64) *Prober {
	l.heartbeatSeen = l.heartbeatSeen || id.Kind == identity.Heartbeat
	e, ok := l.index[id]
	if !ok {
		return l.enter(id, now, pull)
	}
	p := e.Value.(*Prober)
	p.seen(now, pull, l.opened)
	l.place(p)
	return p
}

// enter makes a prober of an identity that is new.
func (l *Ledger) enter(id identity.ID, now time.Duration, pull uint64) *Prober {
	if len(l.index) == MaxProbers && !l.evict(now) {
		return nil
	}
	id = id.Clone()
	p := &Prober{ID: id, Last: now, Born: pull}
	// An older version did not export the form of its probers. Each prober that may be one of these begins
	// as a copy of it.
	plain := identity.ID{Kind: id.Kind, Host: id.Host, UserAgent: id.UserAgent}
	var old *Prober
	if e, ok := l.index[plain]; ok && id.Form != (identity.Form{}) && id.Via == "" {
		old = e.Value.(*Prober)
	}
	if old != nil && old.successors < maxSuccessors {
		old.successors++
		p.Estimator, p.Last, p.Born = old.Estimator.Clone(), old.Last, 0
		p.seen(now, pull, l.opened)
	} else {
		p.Arrive(now)
	}
	l.insert(p)
	return p
}

func (l *Ledger) insert(p *Prober) {
	if p.in = l.listOf(p); p.in == &l.regular {
		l.index[p.ID] = p.in.PushBack(p)
	} else {
		l.index[p.ID] = p.in.PushFront(p)
	}
}

// place moves p to the list that it belongs to now, and to its place there.
func (l *Ledger) place(p *Prober) {
	if p.in == l.listOf(p) && p.in == &l.regular {
		return
	}
	p.in.Remove(l.index[p.ID])
	l.insert(p)
}

// evict makes room for one prober. It reports false if all are live and have a rhythm.
func (l *Ledger) evict(now time.Duration) bool {
	if e := l.irregular.Back(); e != nil {
		delete(l.index, l.irregular.Remove(e).(*Prober).ID)
		return true
	}
	for p := range all(&l.regular) {
		if p.Life(now) <= 0 {
			l.regular.Remove(l.index[p.ID])
			delete(l.index, p.ID)
			return true
		}
	}
	return false
}

// add takes over a prober that another process has seen, unless l has seen it, too.
func (l *Ledger) add(p *Prober) {
	if _, ok := l.index[p.ID]; ok {
		return
	}
	p.in = l.listOf(p)
	if len(l.index) == MaxProbers {
		e := l.irregular.Back()
		if p.in == &l.irregular || e == nil {
			return
		}
		delete(l.index, l.irregular.Remove(e).(*Prober).ID)
	}
	l.index[p.ID] = p.in.PushBack(p)
	l.heartbeatSeen = l.heartbeatSeen || p.Kind == identity.Heartbeat
}

// Probers yields all: those with a rhythm first, in the order of the lists.
func (l *Ledger) Probers() iter.Seq[*Prober] { return all(&l.regular, &l.irregular) }

func all(lists ...*list.List) iter.Seq[*Prober] {
	return func(yield func(*Prober) bool) {
		for _, in := range lists {
			for e := in.Front(); e != nil; e = e.Next() {
				if !yield(e.Value.(*Prober)) {
					return
				}
			}
		}
	}
}

// Direct reports whether a prober with a rhythm is live that asks by itself, not through a proxy.
func (l *Ledger) Direct(now time.Duration) bool {
	for p := range all(&l.regular) {
		if p.Kind == identity.Ping && p.Via == "" && p.successors == 0 && p.Life(now) > 0 {
			return true
		}
	}
	return false
}

// Asks reports whether a host is known for a rhythm of its own.
func (l *Ledger) Asks(host string) bool {
	for p := range all(&l.regular) {
		if p.Host == host && p.Via == "" {
			return true
		}
	}
	return false
}

// Slowest returns the interval of the slowest live prober, 0 if none is known. A pull keeps what it was at its
// beginning, so that a prober which is dead then stays dead until it is seen again.
func (l *Ledger) Slowest(now time.Duration) (slowest time.Duration) {
	for p := range l.Probers() {
		if p.Life(now) > 0 {
			slowest = max(slowest, p.Interval())
		}
	}
	return slowest
}

// Young yields the probers by HTTP of this host's own that have asked within a time, but not often enough to be known.
func (l *Ledger) Young(now, within time.Duration) iter.Seq[*Prober] {
	return func(yield func(*Prober) bool) {
		for p := range all(&l.irregular) {
			if p.Kind == identity.Ping && p.Via == "" && now-p.Last < within && !yield(p) {
				return
			}
		}
	}
}

// Judge looks, at the beginning of a pull, once more for rhythms among those that ask lately, and finds those
// that share an identity.
func (l *Ledger) Judge(now time.Duration) {
	var crowds []*Prober
	for p := range l.Probers() {
		p.Mixed = false
		if now-p.Last > rhythm.LongestGap {
			continue
		}
		if !p.Even() && len(crowds) < maxCrowds {
			crowds = append(crowds, p)
			p.Analyze()
		}
		p.Mixed = p.Crowded()
	}
	for _, p := range crowds {
		if p.in != l.listOf(p) {
			l.place(p)
		}
	}
}

// listOf returns the list that p belongs to.
func (l *Ledger) listOf(p *Prober) *list.List {
	if p.Interval() > 0 {
		return &l.regular
	}
	return &l.irregular
}
