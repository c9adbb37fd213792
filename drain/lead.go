package drain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/baton-go/baton/drain/internal/proc"
	"github.com/baton-go/baton/drain/internal/work"
)

// What can be said of leads in a message.
const (
	maxLeads    = 64
	maxLeadName = 100     // bytes
	maxHeld     = 8 << 10 // bytes of names of all holders
)

// holderPoll is how often a process is looked for of which no link tells when it has gone.
const holderPoll = 50 * time.Millisecond

// lead is a function that one generation runs at a time. Its fields are the loop's.
type lead struct {
	name  string
	f     func(context.Context)
	begun bool
	held  int // the pid of the process that was said to hold it up
}

// holder is a generation that may still run functions of Lead, and whose link is not here: it is
// yet to come, or has ended before the process did.
type holder struct {
	PID   int       `json:"pid"`
	Leads []string  `json:"leads,omitempty"` // none: it may be any
	Until time.Time `json:"until,omitzero"`  // when the process has ended in any case
}

// Lead runs f in one generation of the service at a time: a scheduler, a lease, a consumer that
// must not run twice. It begins when this generation is the main one and no older one runs its
// function of that name any more; ctx ends when draining begins, in a swap or a stop. A swap that
// fails does not touch it. A swap or stop waits for f, at most Config.DrainTimeout, and the next
// generation waits with its own for as long as that takes. It waits until the process is gone where
// the old one is killed, or is of a version of this library that did not know Lead.
//
// When f returns before draining begins, it is over in this generation: it is not begun again, and the next generation
// runs its own. A generation that is replaced, or stops, while it still waits does not run f.
//
// Name is valid UTF-8 of at most 100 bytes, and the same in each version of the program. A generation can have 64, each
// once; Lead returns an error otherwise, and when draining has begun.
//
// Not promised: that f runs once among services that were started apart from each other, such as a second instance, or
// one that a service manager starts again while the program of the old one has not exited; nor that nothing of f runs
// after ctx has ended in a process that is halted.
func (s *Service) Lead(name string, f func(ctx context.Context)) error {
	err := ErrStopped
	s.call(func() { err = s.addLead(name, f) })
	if err != nil {
		return fmt.Errorf("drain: Lead %q: %w", name, err)
	}
	return nil
}

func (s *Service) addLead(name string, f func(context.Context)) error {
	switch {
	case s.phase == Draining || s.phase == Stopped:
		return akin(ErrDraining, s.leaving()...)
	case name == "" || len(name) > maxLeadName || !utf8.ValidString(name):
		return fmt.Errorf("the name has %d bytes; give it 1 to %d, of valid UTF-8", len(name), maxLeadName)
	case slices.ContainsFunc(s.leads, func(l *lead) bool { return l.name == name }):
		return errors.New("there is one of that name; give each a name of its own")
	case len(s.leads) == maxLeads:
		return fmt.Errorf("there are %d; put several into one function", maxLeads)
	}
	s.leads = append(s.leads, &lead{name: name, f: f})
	s.beginLeads()
	return nil
}

// beginLeads begins what no older generation runs. It is called whenever that may have changed.
func (s *Service) beginLeads() {
	if s.bequeathed || s.phase != Ready && s.phase != Pulled && s.phase != Swapping {
		return
	}
	s.dropHolders()
	for _, l := range s.leads {
		if l.begun {
			continue
		}
		if pid := s.heldBy(l.name); pid != 0 {
			if l.held != pid {
				l.held = pid
				s.cfg.Logger.Info("Lead waits for an older generation", "name", l.name, "older_pid", pid)
			}
			continue
		}
		l.begun = true
		s.work.Add(work.Task{Name: l.name, Lead: true, F: func() { l.f(s.work.Draining()) },
			Over: func() { s.call(s.reportLeads) }})
	}
}

// heldBy is the process that may run the function of that name, or 0.
func (s *Service) heldBy(name string) int {
	for _, e := range s.older {
		if e.Leads == nil || slices.Contains(e.Leads, name) {
			return e.PID
		}
	}
	for _, h := range s.holders {
		if len(h.Leads) == 0 || slices.Contains(h.Leads, name) {
			return h.PID
		}
	}
	return 0
}

// dropHolders forgets the processes that are gone, and comes again for those that are not.
func (s *Service) dropHolders() {
	s.holders = slices.DeleteFunc(s.holders, func(h holder) bool {
		return !proc.Alive(h.PID) || !h.Until.IsZero() && time.Now().After(h.Until)
	})
	switch {
	case len(s.holders) == 0:
	case s.holderPoll == nil:
		s.holderPoll = time.AfterFunc(holderPoll, func() { s.call(s.beginLeads) })
	default:
		s.holderPoll.Reset(holderPoll)
	}
}

// reportLeads tells the main generation at once that a function has returned here.
func (s *Service) reportLeads() {
	if s.reports != nil && s.phase == Draining {
		s.reports.tell(s.peer())
	}
}

// hold is what is known of the leads of e, to be kept without its link.
func (e *elder) hold() (h holder, any bool) {
	h = holder{PID: e.PID, Leads: e.Leads}
	if !e.Deadline.IsZero() {
		h.Until = e.Deadline.Add(2 * killGrace).Round(0)
	}
	return h, e.Leads == nil || len(e.Leads) > 0
}

// keepHolder is told that the link of e has ended. Its process may take a moment longer.
func (s *Service) keepHolder(e *elder) {
	if h, any := e.hold(); any {
		s.holders = append(s.holders, h)
	}
}

func (s *Service) dropHolder(pid int) {
	s.holders = slices.DeleteFunc(s.holders, func(h holder) bool { return h.PID == pid })
}

// allHolders are the older generations that may run something, for the next one, which may come to
// be without another word.
func (s *Service) allHolders() []holder {
	all := slices.Clone(s.holders)
	for _, e := range s.older {
		if h, any := e.hold(); any {
			all = append(all, h)
		}
	}
	size := 0
	for i, h := range all {
		for _, name := range h.Leads {
			size += len(name)
		}
		if size > maxHeld {
			all[i].Leads = nil
		}
	}
	return all
}
