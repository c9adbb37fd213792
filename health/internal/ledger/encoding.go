package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/rhythm"
)

const (
	version = 1
	// MaxEncoded is how many bytes Encode returns at most, so that they fit into a message beside other things.
	MaxEncoded = 64 << 10
	// MaxParsed is more than the fullest ledger of older versions, which knew no bound, can take.
	MaxParsed = 4 << 20
)

// encoded is a ledger on its way to another process. It carries ages, since the clocks of two processes
// have no common beginning, and rhythms, but no failing answers: those belong to a pull of one process.
type encoded struct {
	Version int    `json:"version"`
	Probers []Line `json:"probers"` // in the order in which they are worth keeping
}

// Line is a prober on its way.
type Line struct {
	identity.ID
	Age  time.Duration   `json:"age_ns"`
	Gaps []time.Duration `json:"gaps_ns"` // the oldest first
}

// Encode returns l as JSON, MaxEncoded bytes at most. Probers that do not fit are left out, those that are worth least,
// and so are those not seen for rhythm.LongestGap.
func (l *Ledger) Encode(now time.Duration) []byte {
	out := encoded{Version: version, Probers: make([]Line, 0, l.Len())}
	room := MaxEncoded - len(`{"version":1,"probers":[]}`)
	for p := range l.Probers() {
		age := now - p.Last
		if age > rhythm.LongestGap || p.Replaced() {
			continue // it would have to begin again
		}
		next := Line{p.ID, age, p.Gaps()}
		b, _ := json.Marshal(next) // strings and integers never fail
		if room -= len(b) + len(","); room < 0 {
			break
		}
		out.Probers = append(out.Probers, next)
	}
	b, _ := json.Marshal(out)
	return b
}

// Parse returns the lines of an encoded ledger. Where b is none, the error says why.
func Parse(b []byte) ([]Line, error) {
	var in encoded
	if len(b) > MaxParsed {
		return nil, fmt.Errorf("%d bytes, more than %d", len(b), MaxParsed)
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, err
	}
	if in.Version != version {
		return nil, fmt.Errorf("version %d, want %d", in.Version, version)
	}
	if len(in.Probers) > MaxProbers {
		return nil, fmt.Errorf("%d probers, more than %d", len(in.Probers), MaxProbers)
	}
	for i, line := range in.Probers {
		if err := line.check(); err != nil {
			return nil, fmt.Errorf("prober %d: %w", i, err)
		}
	}
	return in.Probers, nil
}

func (l Line) check() error {
	switch {
	case !l.Bounded():
		return fmt.Errorf("kind, host, user agent, form or via longer than %d bytes", identity.MaxText)
	case l.Age < 0 || l.Age > rhythm.LongestGap:
		return fmt.Errorf("age %v out of range", l.Age)
	case len(l.Gaps) > rhythm.Remembered:
		return fmt.Errorf("%d gaps, more than %d", len(l.Gaps), rhythm.Remembered)
	}
	for _, gap := range l.Gaps {
		if gap < 0 || gap > rhythm.LongestGap {
			return fmt.Errorf("gap %v out of range", gap)
		}
	}
	return nil
}

// Import adds the probers that l has not seen itself.
func (l *Ledger) Import(lines []Line, now time.Duration) {
	for _, line := range lines {
		p := &Prober{ID: line.ID, Last: now - line.Age}
		if p.Kind != identity.Agent && p.Kind != identity.Heartbeat {
			// Of an unknown one, a newer version's, nothing can be said but that it is waited for.
			p.Kind = identity.Ping
		}
		p.Learn(line.Gaps, p.Last)
		l.add(p)
	}
}
