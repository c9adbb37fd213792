package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a [State]. Its zero value works.
type Config struct {
	// Status is the status of the answer while pulled, 400 to 599.
	// Default 501; some balancers' dashboards expect 503.
	Status int

	// Message is the "message" in the body of that answer. Whoever can reach
	// the route reads it. Default "pulled".
	Message string

	// Failures is how many failing answers each live prober must have had
	// before a pull is noticed: the largest number after which one of the
	// balancers takes a node out. Default 3.
	Failures int

	// Probers are the networks that the balancers' probes come from. Where there are some, nobody
	// else is a prober: others are answered, and neither wait nor are waited for. What a proxy in
	// these networks has forwarded must have come from these networks, too, by the last address in
	// its X-Forwarded-For. Clients of unix sockets may always be probers. Default: each host may
	// be one; the package comment says what an outsider can do then.
	Probers []netip.Prefix

	// PullMin is the least time between a pull and its being noticed, PullMax
	// the greatest. Defaults 0 and 30 s.
	PullMin, PullMax time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Status == 0 {
		c.Status = http.StatusNotImplemented
	}
	if c.Message == "" {
		c.Message = "pulled"
	}
	if c.Failures == 0 {
		c.Failures = 3
	}
	if c.PullMax == 0 {
		c.PullMax = 30 * time.Second
	}
	switch {
	case c.Status < 400 || c.Status > 599:
		return c, fmt.Errorf("health: Config.Status is %d, which does not tell a balancer to go away: "+
			"use 400 to 599, or 0 for 501", c.Status)
	case c.Failures < 0:
		return c, fmt.Errorf("health: Config.Failures is %d: use 1 or more, or 0 for 3", c.Failures)
	case c.PullMin < 0:
		return c, fmt.Errorf("health: Config.PullMin is %v: use 0 or more", c.PullMin)
	case c.PullMax < 0:
		return c, fmt.Errorf("health: Config.PullMax is %v: use more than 0, or 0 for 30s", c.PullMax)
	case slices.ContainsFunc(c.Probers, func(p netip.Prefix) bool { return !p.IsValid() }):
		return c, errors.New("health: Config.Probers has a network that is not valid: make it with " +
			"netip.ParsePrefix, such as 10.0.0.0/8")
	case c.PullMin > c.PullMax:
		return c, fmt.Errorf("health: Config.PullMin is %v, longer than PullMax, which is %v: raise "+
			"PullMax or lower PullMin", c.PullMin, c.PullMax)
	}
	return c, nil
}

// State is what probers see, and the ledger of those who saw it. It is an
// [http.Handler], and its methods may be called from any goroutine.
type State struct {
	cfg     Config
	failing answer
	born    time.Time    // times are kept as durations since then, which only a monotonic clock moves
	arrived atomic.Int64 // when Arrived was last called, as a duration since born

	doors sync.Mutex // held while a heartbeat's listener is opened or closed; comes before mu

	mu      sync.Mutex // guards what follows
	ledger  ledger
	pulls   uint64 // number of the last pull; the first is 1
	pulled  bool
	down    bool                     // pulled for good; see Down
	since   time.Duration            // when the present pull began
	slowest time.Duration            // live prober's interval when the pull began; 0: unknown
	young   map[string]time.Duration // hosts of probers that were not known then; when they last sent another request
	noticed chan struct{}            // nil unless pulled; made by Pull, closed by settle
	settled bool                     // noticed is closed
	timer   *time.Timer              // calls wake; made by the first pull that has to wait

	watches  map[*watch]struct{} // that can be told
	untold   int                 // of them, how many have not been told of the present pull
	lastTold time.Duration       // when one was, in the present pull

	restored   chan struct{}           // nil unless pulled; made by Pull, closed by Restore
	heartbeats map[*Heartbeat]struct{} // not closed
}

// never is the time of what has not happened. It is half the least duration so
// that the time since then does not overflow.
const never = time.Duration(math.MinInt64 / 2)

// New returns a State that is not pulled. The error names the field of cfg
// that is wrong and what to do about it.
func New(cfg Config) (*State, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	message, _ := json.Marshal(cfg.Message) // a string never fails
	s := &State{
		cfg:        cfg,
		failing:    newAnswer(cfg.Status, `{"code":-1,"message":`+string(message)+`}`, "Connection", "close"),
		born:       time.Now(),
		ledger:     newLedger(),
		heartbeats: make(map[*Heartbeat]struct{}),
		watches:    make(map[*watch]struct{}),
	}
	s.arrived.Store(int64(never))
	return s, nil
}

func (s *State) now() time.Duration { return time.Since(s.born) }

// Pull makes every further probe fail. It reports whether that is a change;
// pulling twice is the same as pulling once.
func (s *State) Pull() bool {
	s.doors.Lock()
	defer s.doors.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulled {
		return false
	}
	s.pulled = true
	s.pulls++
	for h := range s.heartbeats {
		h.shut()
	}
	s.since = s.now() // until here a heartbeat was a success
	s.restored = make(chan struct{})
	s.ledger.judge(s.since)
	s.slowest = s.ledger.slowest(s.since)
	s.young = s.ledger.young(s.since, s.assume(s.slowest))
	s.untold, s.lastTold = len(s.watches), never
	s.noticed = make(chan struct{})
	s.settle()
	return true
}

// Restore makes probes succeed again and forgets the pull: the next one begins
// anew. It reports whether that is a change.
func (s *State) Restore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pulled {
		return false
	}
	s.pulled, s.down = false, false
	s.noticed, s.settled = nil, false
	close(s.restored)
	s.restored = nil
	if s.timer != nil {
		s.timer.Stop()
	}
	return true
}

// Pulled reports whether probes fail at present.
func (s *State) Pulled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pulled
}
