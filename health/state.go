package health

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/notice"
	"github.com/baton-go/baton/health/internal/port"
)

// State is what probers see, and the ledger of those that saw it. It is an [http.Handler]. Its methods may be
// called from any goroutine. There is nothing to close, but for its ports.
type State struct {
	probers   identity.Networks
	failing   answer
	check     checkup
	illStatus int       // while that fails
	born      time.Time // times are kept as durations since then, which only a monotonic clock moves

	pullMu sync.Mutex // held by Pull and Restore; comes before mu

	mu      sync.Mutex // guards what follows, but for machine.Arrived
	machine *notice.Machine
	gates   map[*port.Gate]struct{} // of heartbeats; shut while pulled
	down    bool                    // pulled for good; see Down
	noticed chan struct{}           // nil unless pulled; made by Pull, closed by evaluate
	outcome Outcome                 // why noticed is closed; "" until then
	timer   *time.Timer             // calls wake; made by the first pull that has to wait
}

// New returns a State that is not pulled. The error names the field of cfg that is wrong, and the cure.
func New(cfg Config) (*State, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ill := cfg.Status
	if ill == pulledStatus {
		ill = http.StatusServiceUnavailable
	}
	message, _ := json.Marshal(cfg.Message) // a string never fails
	return &State{
		probers:   cfg.Probers,
		failing:   newAnswer(cfg.Status, `{"code":-1,"message":`+string(message)+`}`, "Connection", "close"),
		check:     checkup{ask: cfg.Healthy, changed: cfg.HealthChanged},
		illStatus: ill,
		born:      time.Now(),
		machine:   notice.New(notice.Config{Failures: cfg.Failures, PullMin: cfg.PullMin, PullMax: cfg.PullMax}),
		gates:     make(map[*port.Gate]struct{}),
	}, nil
}

func (s *State) now() time.Duration { return time.Since(s.born) }

// Pull makes every further probe fail. It reports false if the State is pulled already: to pull twice is to
// pull once. It waits for a [Heartbeat] whose port is being opened.
func (s *State) Pull() bool {
	s.pullMu.Lock()
	defer s.pullMu.Unlock()
	s.mu.Lock()
	pulled, gates := s.machine.Pulled(), slices.Collect(maps.Keys(s.gates))
	s.mu.Unlock()
	if pulled {
		return false
	}
	for _, g := range gates {
		g.Shut() // without s.mu: a port that is being opened must not hold up the answers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Pull(s.now()) // until here a heartbeat was a success
	s.noticed = make(chan struct{})
	s.evaluate()
	return true
}

// Restore makes probes succeed again and forgets the pull: the next one counts from its own beginning. It
// reports false if the State is not pulled.
func (s *State) Restore() bool {
	s.pullMu.Lock()
	defer s.pullMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.machine.Pulled() {
		return false
	}
	s.machine.Restore()
	s.down, s.noticed, s.outcome = false, nil, ""
	for g := range s.gates {
		g.Reopen()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	return true
}

// Pulled reports whether probes fail at present.
func (s *State) Pulled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Pulled()
}

// Noticed returns a channel that is closed when the present pull has been noticed, or when its PullMax is
// over; the package comment has the rule. Each pull has its own channel. It is nil, and so blocks forever,
// while the State is not pulled. It is never closed if Restore comes first.
func (s *State) Noticed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.noticed
}

// evaluate closes noticed if the pull has been noticed, and otherwise sets the timer for when that may have
// changed by itself. s.mu is held.
func (s *State) evaluate() {
	if !s.machine.Pulled() || s.outcome != "" {
		return
	}
	wait := s.machine.Wait(s.now())
	switch {
	case wait <= 0:
		s.outcome = outcomes[s.machine.Outcome(s.now())]
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

// wake is the timer's. It may come late, in another pull: to evaluate is right at any time.
func (s *State) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evaluate()
}
