package health

import "net"

// ServeAgent answers HAProxy's agent-check on ln until that is closed. The
// answer is a line, whatever is asked: "up ready" while the service is healthy,
// "drain" while it is pulled, and "down" once [State.Down] has been called.
//
// HAProxy heeds an answer at once, so a prober of that kind has noticed a pull
// when it has had one. "ready" is what takes "drain" back, also of the process
// before this one; it takes back, too, what somebody has set in HAProxy by
// hand (set server ... state drain). A refused agent-check changes nothing for
// HAProxy: to find a dead service it needs a check of the usual kind as well.
// Let that one ask for the route of [State.Live], or a pull waits for its
// failing answers too.
func (s *State) ServeAgent(ln net.Listener) {
	var lingers lingering
	defer lingers.Wait()
	accept(ln, func(nc net.Conn) {
		p, pull, word := s.asked(nc.RemoteAddr().String())
		if _, err := nc.Write(word); err != nil {
			pull = 0
		}
		lingers.farewell(nc, func() {
			if p != nil && pull != 0 {
				s.answered(p, pull)
			}
		})
	})
}

var up, drain, down = []byte("up ready\n"), []byte("drain\n"), []byte("down\n")

// asked enters an agent-check in the ledger, and returns what to answer.
func (s *State) asked(remote string) (p *prober, pull uint64, word []byte) {
	id, known := s.identify(kindAgent, remote, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		p = s.ledger.seen(id, s.now(), s.pull())
	}
	switch {
	case !s.pulled:
		return p, 0, up
	case s.down:
		return p, s.pulls, down
	}
	return p, s.pulls, drain
}

// Down tells agents from now on that the service is down: it is pulled, the
// pull has been noticed, and nothing new is accepted. A Restore takes it back.
func (s *State) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}
