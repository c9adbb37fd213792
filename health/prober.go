package health

import (
	"cmp"
	"slices"
	"time"
)

// Prober is one line of the ledger, for people and dashboards.
type Prober struct {
	Kind      string        `json:"kind"`           // "ping" (or by Probed), "agent", "heartbeat", "watch" (by Watched)
	Host      string        `json:"host"`           // "unix" for all unix sockets; "" for a heartbeat never seen
	UserAgent string        `json:"user_agent"`     // as the prober says; "": it says none
	Form      string        `json:"form,omitempty"` // method, version, Host, sum of header names
	Via       string        `json:"via,omitempty"`  // for whom Host says to have forwarded it
	Interval  time.Duration `json:"interval_ns"`    // 0 while unknown
	LastSeen  time.Time     `json:"last_seen"`      // now, if unseen
	Failures  int           `json:"failures"`       // failing answers in this pull; of a heartbeat by its interval
	Needs     int           `json:"needs"`          // Config.Failures; of an agent and a watch 1
	Noticed   bool          `json:"noticed"`        // it has had them
	Live      bool          `json:"live"`           // seen lately enough to be waited for
}

// Probers returns a copy of the ledger, sorted by host, kind and User-Agent. There are 1024 probers at most: those
// with a rhythm and those seen last. There are as many watches at most.
func (s *State) Probers() []Prober {
	s.mu.Lock()
	clock := time.Now()
	now := clock.Sub(s.born)
	lines := s.machine.Lines(now)
	s.mu.Unlock()
	out := make([]Prober, len(lines))
	for i, l := range lines {
		out[i] = Prober{l.Kind, l.Host, l.UserAgent, l.Form.String(), l.Via, l.Interval, clock.Add(l.Last - now),
			l.Failures, l.Needs, l.Noticed, l.Live}
	}
	slices.SortFunc(out, func(a, b Prober) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.UserAgent, b.UserAgent),
			cmp.Compare(a.Form, b.Form), cmp.Compare(a.Via, b.Via))
	})
	return out
}
