package health

import (
	"net"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/port"
)

// ServeAgent answers HAProxy's agent-check on ln. It returns when the caller has closed ln and the last answers
// are read, a second later at most. The answer is a line, whatever is asked. It is "up ready" while the service is
// healthy, and "drain" while it is pulled. It is "down" once [State.Down] has been called, or while Config.Healthy
// fails.
//
// HAProxy heeds an answer at once, so a prober of that kind has noticed a pull when it has had one answer. "ready"
// takes "drain" back, also that of the process before this one. It also takes back what was set in HAProxy by hand
// (set server ... state drain). A refused agent-check changes nothing for HAProxy: to find a dead service it needs
// a check of the usual kind as well. Let that one ask for the route of [State.Live], or a pull waits for its failing
// answers too.
func (s *State) ServeAgent(ln net.Listener) {
	var lingering port.Lingering
	defer lingering.Wait()
	lingering.Accept(ln, func(nc net.Conn) (closed func()) {
		p, pull, down := s.enter(s.probers.Remote(identity.Agent, nc.RemoteAddr().String(), ""))
		pull, ill := s.examine(p, pull)
		word := "up ready\n"
		switch {
		case down, ill != nil:
			word = "down\n"
		case pull != 0:
			word = "drain\n"
		}
		if _, err := nc.Write([]byte(word)); err != nil {
			pull = 0
		}
		return func() { s.failed(p, pull) }
	})
}

// Down makes ServeAgent say "down" from now on. Call it when the pull has been noticed and nothing new is
// accepted. Restore takes it back.
func (s *State) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}
