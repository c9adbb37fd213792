package health

import (
	"errors"
	"net/http"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/ledger"
)

// ServeHTTP answers a probe: 200 and {"code":0,"message":"success"}, or, where Config.Healthy fails, the reason.
// While pulled it answers Config.Status and {"code":-1,"message":Config.Message}. Over HTTP/1 it adds Connection:
// close, so that a prober with a kept-alive connection does not go on hearing this process. An HTTP/2 connection
// stays open: other requests share it. GET, HEAD and OPTIONS are probes. Other methods are answered 405 and leave no
// trace in the ledger, and neither do requests whose RemoteAddr is "pipe": over a [net.Pipe] the service probes
// itself. The answer does not wait for a body, and closes the HTTP/1 connection of a request that has one.
func (s *State) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !accept(w, r) {
		return
	}
	p, pull, _ := s.enter(s.probers.Request(r))
	pull, ill := s.examine(p, pull)
	if pull == 0 {
		says := success
		if ill != nil {
			says = unwell(s.illStatus, ill)
		}
		_ = says.write(w, r)
		return
	}
	err := s.failing.write(w, r)
	if err == nil {
		// net/http would send the answer only after we have returned.
		err = http.NewResponseController(w).Flush()
	}
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		s.failed(p, pull)
	}
}

// examine asks Config.Healthy for what enter has returned, unless that probe falls into a pull. It returns the pull
// into which the answer falls, which may have begun meanwhile, or else what Config.Healthy says.
func (s *State) examine(p *ledger.Prober, pull uint64) (uint64, error) {
	if pull != 0 || s.check.ask == nil {
		return pull, nil
	}
	ill := s.check.outcome()
	s.mu.Lock()
	defer s.mu.Unlock()
	if pull = s.machine.Present(); pull != 0 {
		return pull, nil
	}
	if ill != nil && p != nil {
		p.Unwell = true
	}
	return 0, ill
}

// Live returns a handler for /livez: it answers 200 throughout, pulled or not. It is for a supervisor that
// restarts processes which do not answer. It keeps no ledger.
func (s *State) Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accept(w, r) {
			_ = success.write(w, r)
		}
	})
}

// enter enters a probe of a known prober. It returns the prober, or nil if it is none or one too many. Pull is the
// number of the pull that the probe falls into, 0 for none. Down tells whether the service is down then.
func (s *State) enter(id identity.ID, known bool) (p *ledger.Prober, pull uint64, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if known {
		p = s.machine.Probe(id, now)
	}
	if id.Via != "" {
		s.machine.Forwarded(id.Host, now)
	}
	pull = s.machine.Present()
	return p, pull, s.down && pull != 0
}

// failed records that p, if it is not nil, has had a failing answer in the pull of that number, if it is not 0.
func (s *State) failed(p *ledger.Prober, pull uint64) {
	if p == nil || pull == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Failed(p, pull, s.now())
	s.evaluate()
}
