package health

import "github.com/baton-go/baton/health/internal/identity"

// Probed enters a probe that came by another protocol than HTTP, such as a Check of gRPC's health service.
// Remote is the prober's address, and agent its User-Agent, or what else tells it from others at that
// address. Call failed once, when the answer has been written, if it tells the prober to go away. While not
// pulled it does nothing.
func (s *State) Probed(remote, agent string) (failed func()) {
	p, _, _ := s.enter(s.probers.Remote(identity.Ping, remote, agent))
	return func() {
		s.mu.Lock()
		pull := s.machine.Present() // the answer may have been made up after the probe was seen
		s.mu.Unlock()
		s.failed(p, pull)
	}
}

// Watched enters a prober that is told of each change instead of asking, such as a Watch of gRPC's health
// service; remote and agent are those of Probed. Call it when the prober has been told that all is well.
// Call failed when it has been told to go away, and gone when it can be told nothing any more: each may be
// called again, and in each pull. A pull is noticed when one of them was called for each watch, and 100 ms,
// to act, have passed after the last failed. A watch for which neither is called holds a pull until PullMax.
//
// Watches are no part of what Export returns: clients begin new ones in the next process.
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

// Arrived tells the State that a new connection, other than a prober's, has brought its first request. So a
// balancer still sends traffic here, and a pull is not noticed for nine tenths of a probe interval more. A
// service that never calls it does without that part of the rule. It is cheap, pulled or not.
func (s *State) Arrived() {
	// An arrival only ever puts things off: the timer finds it here when it fires.
	s.machine.Arrived(s.now())
}

// Visited tells the State that a request other than a probe has come from remote, on whatever connection. The
// host may have asked for the route before, but not often enough to be a known prober. While pulled, the State takes
// it for a balancer that has just begun, as long as it sends requests. Visited does nothing while not pulled.
func (s *State) Visited(remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Visited(remote, s.now()) // puts things off only: the timer finds it
}
