package health

import (
	"net"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/port"
)

// Heartbeat is a port for balancers that only connect, such as LVS and other balancers of TCP. While the
// service is healthy it accepts connections and closes them at once. [State.Pull] closes the port before it
// returns, so that connecting is refused. [State.Restore] opens it again.
//
// A failing heartbeat can't be seen, but it is known when the last of Config.Failures has come. A heartbeat
// has noticed a pull when Failures times its interval are over since it was last seen, and a moment: a
// tenth of its interval, at most 100 ms. Its interval is the longest of those lately seen. If a balancer
// keeps its interval when heartbeats fail, the notice is never before it has taken the node out, and never
// more than one interval after. If it keeps a longer one then, set PullMin: a firewall may drop what it
// should refuse, or the recheck may be slower.
//
// Some balancers reset a heartbeat before the handshake is complete, HAProxy's plain "check" among them, and
// no process gets to see that. So as long as no heartbeat has ever been seen, a pull waits for one whose
// interval is unknown, half of PullMax at most. To wait for less, lower PullMax; for more, raise PullMin.
type Heartbeat struct {
	state *State
	gate  *port.Gate
}

// NewHeartbeat calls listen, or leaves that to Serve if the service is pulled. Listen is called after each
// Restore, too; it must not call methods of s. The error is that of listen. The caller closes the Heartbeat.
func (s *State) NewHeartbeat(listen func() (net.Listener, error)) (*Heartbeat, error) {
	h := &Heartbeat{state: s, gate: port.NewGate(listen, s.opened)}
	h.register()
	if _, err := h.gate.Open(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Heartbeat) register() {
	s := h.state
	s.pullMu.Lock()
	defer s.pullMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.machine.Pulled() {
		h.gate.Shut()
	}
	s.gates[h.gate] = struct{}{}
	s.machine.Heartbeats = len(s.gates)
}

func (s *State) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Opened(s.now())
}

// Serve accepts heartbeats until Close is called, and returns nil then. Otherwise the error is why the port
// could not be opened again, or was lost. Call Serve again then, after a while.
func (h *Heartbeat) Serve() error {
	return h.gate.Serve(func(nc net.Conn) (closed func()) {
		h.state.enter(h.state.probers.Remote(identity.Heartbeat, nc.RemoteAddr().String(), ""))
		return func() {}
	})
}

// Close closes the port for good, and ends Serve. It may be called again.
func (h *Heartbeat) Close() {
	h.gate.Close()
	s := h.state
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gates, h.gate)
	s.machine.Heartbeats = len(s.gates)
}
