package health

import "time"

// Probed enters a probe that came by another protocol than HTTP, such as a Check of gRPC's health
// service. Remote is the prober's address and agent its User-Agent, or what else tells it from
// others at that address. Failed must be called when an answer that tells the prober to go away has
// been written; while not pulled it does nothing.
func (s *State) Probed(remote, agent string) (failed func()) {
	id, known := s.identify(kindPing, remote, agent)
	if !known {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ledger.seen(id, s.now(), s.pull())
	if p == nil {
		return func() {}
	}
	return func() {
		s.mu.Lock()
		pull := s.pulls // the answer may have been made up after the probe was seen
		s.mu.Unlock()
		s.answered(p, pull)
	}
}

// Watched enters a prober that does not ask again and again but is told of each change, such as a
// Watch of gRPC's health service. It is to be called when the prober has been told that all is
// well. Failed must be called when it has been told to go away, and gone when it can be told
// nothing any more. A pull is not noticed before one of them was called for each, and a moment (100
// ms) to act has passed after the last failed.
//
// It is no part of what Export returns: the next process is asked anew.
func (s *State) Watched(remote, agent string) (failed, gone func()) {
	id, known := s.identify(kindWatch, remote, agent)
	if !known {
		return func() {}, func() {}
	}
	w := &watch{identity: id.clone()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[w] = struct{}{}
	if s.pulled {
		s.untold++
	}
	return func() { s.told(w, false) }, func() { s.told(w, true) }
}

// watch is a prober that is told. There is one for each stream, and so no other bound to them; they
// would drive the probers out of the ledger.
type watch struct {
	identity
	pull uint64 // number of the last pull that it was told of
}

func (s *State) told(w *watch, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.watches[w]; !open {
		return
	}
	if gone {
		delete(s.watches, w)
	}
	if s.pulled && w.pull != s.pulls {
		w.pull = s.pulls
		s.untold--
		if !gone {
			s.lastTold = s.now()
		}
	}
	s.settle()
}

// line is w's in the ledger. s.mu is held.
func (s *State) line(w *watch, now time.Time) Prober {
	p := Prober{Kind: w.kind, Host: w.host, UserAgent: w.agent, LastSeen: now, Needs: 1, Live: true}
	if s.pulled && w.pull == s.pulls {
		p.Failures, p.Noticed = 1, true
	}
	return p
}
