package health

import "github.com/baton-go/baton/health/internal/identity"

// Probed enters a probe that came by another protocol than HTTP, such as a Check of gRPC's health
// service. Remote is the prober's address and agent its User-Agent, or what else tells it from
// others at that address. Failed must be called when an answer that tells the prober to go away has
// been written; while not pulled it does nothing.
func (s *State) Probed(remote, agent string) (failed func()) {
	p, _, _ := s.enter(s.probers.Remote(identity.Ping, remote, agent))
	return func() {
		s.mu.Lock()
		pull := s.machine.Present() // the answer may have been made up after the probe was seen
		s.mu.Unlock()
		s.failed(p, pull)
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
	id, known := s.probers.Remote(identity.Watch, remote, agent)
	if !known {
		return func() {}, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.machine.Watched(id)
	told := func(gone bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.machine.Told(w, gone, s.now())
		s.evaluate()
	}
	return func() { told(false) }, func() { told(true) }
}

// Arrived tells the State that a new connection, other than a prober's, has
// brought its first request: somebody still sends traffic here, so a pull is
// not noticed for nine tenths of a probe interval more. A service that never
// calls it does without that part of the rule. It is cheap, and cheap to call when not pulled.
func (s *State) Arrived() {
	// An arrival only ever puts things off: the timer finds it here when it fires.
	s.machine.Arrived(s.now())
}

// Visited tells the State that a request other than a probe has come from remote, on whatever
// connection. While pulled, the State takes a host for a balancer that has just begun, as long as
// it sends requests, if it has asked for the route, but not often enough to be known. It is cheap,
// and does nothing when not pulled.
func (s *State) Visited(remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Visited(remote, s.now()) // puts things off only: the timer finds it
}
