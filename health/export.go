package health

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

const (
	exportVersion = 1
	maxExport     = 64 << 10 // bytes of JSON, so that they fit into a message beside other things
	// maxImport is more than the fullest ledger of older versions, which knew no bound, can take.
	maxImport = 4 << 20
)

// exported is a ledger on its way to another process. It carries ages, since
// the clocks of two processes have no common beginning, and rhythms, but no
// failing answers: those belong to a pull of one State.
type exported struct {
	Version int            `json:"version"`
	Probers []exportedLine `json:"probers"` // in the order in which they are worth keeping
}

type exportedLine struct {
	Kind      string          `json:"kind,omitempty"` // default kindPing: older versions know no other
	Host      string          `json:"host"`
	UserAgent string          `json:"user_agent"`
	Form      form            `json:"form,omitzero"` // older versions know none
	Via       string          `json:"via,omitempty"` // likewise
	Age       time.Duration   `json:"age_ns"`
	Gaps      []time.Duration `json:"gaps_ns"` // the oldest first
}

// Export returns the ledger for [State.Import] in another process, so that a
// pull right after a swap knows its probers. Whether the State is pulled, and
// what probers have had of it, is not part of it. It has 64 KiB at most:
// those with a rhythm come first, in the order in which they have come, and then those seen last.
func (s *State) Export() []byte {
	b, _ := json.Marshal(s.export()) // strings and integers never fail
	return b
}

func (s *State) export() exported {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	out := exported{Version: exportVersion, Probers: make([]exportedLine, 0, len(s.ledger.index))}
	room := maxExport - len(`{"version":1,"probers":[]}`)
	for p := range s.ledger.probers() {
		age := now - p.last
		if age > longestGap || p.heirs > 0 {
			continue // it would begin anew
		}
		line := exportedLine{p.kind, p.host, p.agent, p.form, p.via, age, p.summary()}
		b, _ := json.Marshal(line)
		if room -= len(b) + len(","); room < 0 {
			break
		}
		out.Probers = append(out.Probers, line)
	}
	return out
}

// Import takes over a ledger that [State.Export] returned; it must come before
// a Pull that is to wait for its probers. Probers that s has seen itself keep
// what it knows of them, and 1024 in all are kept. Where b is not such a
// ledger, the error says why, and nothing has changed.
func (s *State) Import(b []byte) error {
	in, err := parseExport(b)
	if err != nil {
		return fmt.Errorf("health: import: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, line := range in.Probers {
		p := &prober{identity: identity{line.kind(), line.Host, line.UserAgent, line.Form, line.Via},
			last: now - line.Age}
		at := p.last
		for _, gap := range line.Gaps {
			at -= gap
		}
		p.arrive(at)
		for _, gap := range line.Gaps {
			at += gap
			p.arrive(at)
		}
		s.ledger.add(p)
	}
	s.settle()
	return nil
}

func parseExport(b []byte) (exported, error) {
	var in exported
	if len(b) > maxImport {
		return in, fmt.Errorf("%d bytes, more than %d", len(b), maxImport)
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return in, err
	}
	if in.Version != exportVersion {
		return in, fmt.Errorf("version %d, want %d", in.Version, exportVersion)
	}
	if len(in.Probers) > maxProbers {
		return in, fmt.Errorf("%d probers, more than %d", len(in.Probers), maxProbers)
	}
	for i, line := range in.Probers {
		if err := line.check(); err != nil {
			return in, fmt.Errorf("prober %d: %w", i, err)
		}
	}
	return in, nil
}

// kind: of an unknown one, a newer version's, nothing can be said but that it
// is waited for.
func (l exportedLine) kind() string {
	if l.Kind == kindAgent || l.Kind == kindHeartbeat {
		return l.Kind
	}
	return kindPing
}

func (l exportedLine) check() error {
	switch {
	case slices.ContainsFunc([]string{l.Host, l.UserAgent, l.Form.Method, l.Form.Version, l.Form.Host,
		l.Via}, func(s string) bool { return clip(s) != s }):
		return fmt.Errorf("host, user agent, form or via longer than %d bytes", maxText)
	case l.Age < 0 || l.Age > longestGap:
		return fmt.Errorf("age %v out of range", l.Age)
	case len(l.Kind) > maxText:
		return fmt.Errorf("kind longer than %d bytes", maxText)
	case len(l.Gaps) > remembered:
		return fmt.Errorf("%d gaps, more than %d", len(l.Gaps), remembered)
	}
	for _, gap := range l.Gaps {
		if gap < 0 || gap > longestGap {
			return fmt.Errorf("gap %v out of range", gap)
		}
	}
	return nil
}
