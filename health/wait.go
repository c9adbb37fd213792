package health

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/baton-go/baton/health/internal/identity"
	"github.com/baton-go/baton/health/internal/notice"
)

// Wait is what a pull waits for, in words, since when, and until when at the latest.
type Wait struct {
	For          string    // the first three probers, or "PullMin", or visitors
	Since, Until time.Time // Until is the latest: by PullMax, or sooner where a prober is waited for less long
}

// Awaits says what the present pull waits for: probers that have not had their failing answers, or, if all have,
// Config.PullMin or visitors. It is not ok if there is no pull, or if that has been noticed.
func (s *State) Awaits() (w Wait, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.machine.Pulled() || s.outcome != "" {
		return Wait{}, false
	}
	a := s.machine.Awaited(s.now())
	w = Wait{Since: s.born.Add(a.Since), Until: s.born.Add(a.Until)}
	var names []string
	const most = 3
	for _, l := range a.Probers[:min(most, len(a.Probers))] {
		names = append(names, describe(l))
	}
	switch more := len(a.Probers) - most; {
	case more > 0:
		w.For = fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	case len(names) > 0:
		w.For = strings.Join(names, ", ")
	case a.Least:
		w.For = "PullMin"
	default:
		w.For = "visitors: a balancer sends requests still"
	}
	return w, true
}

// describe says which prober l is, and how far it is.
func describe(l notice.Line) string {
	name := strings.TrimSpace(l.Host + " " + short(l.UserAgent, 40))
	switch {
	case l.Kind == identity.Heartbeat:
		return cmp.Or(name, "a balancer that may connect") + " (heartbeat)"
	case l.Kind == identity.Watch:
		return name + " (watch)"
	}
	often := "every " + l.Interval.Round(10*time.Millisecond).String()
	switch {
	case l.Interval > 0:
	case l.Visits == 1:
		often = "asked once"
	default:
		often = "asks now and then"
	}
	return fmt.Sprintf("%s (%s, %d of %d failing answers)", name, often, l.Failures, l.Needs)
}

// short is the beginning of a text of others, of that many bytes at most.
func short(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// Outcome is how the wait of a pull has ended.
type Outcome string

// The outcomes.
const (
	Noticed Outcome = "noticed" // each prober has had its failing answers, and no visitor has come since
	Overdue Outcome = "overdue" // that was not so when Config.PullMax was over
	Unasked Outcome = "unasked" // there was no prober: no balancer, or it asks another path
)

var outcomes = map[notice.Outcome]Outcome{notice.Noticed: Noticed, notice.Overdue: Overdue, notice.Unasked: Unasked}

// Outcome tells how the wait of the present pull has ended; it is "" until the channel of [State.Noticed] is closed.
func (s *State) Outcome() Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcome
}

// DropVisitors makes the present pull not wait for probers that have come only once, which are most likely a person
// with a browser. If one is a balancer that has just begun, requests that it sends after that may be lost. So
// DropVisitors is for a service without a balancer, which a person stops at a terminal. It does nothing while not
// pulled.
func (s *State) DropVisitors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.machine.Pulled() {
		s.machine.DropVisitors()
		s.evaluate()
	}
}
