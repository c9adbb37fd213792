package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

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

// leads are the functions that one generation runs at a time.
type leads struct {
	all []*lead

	paused bool
	quiet  chan<- struct{} // closed when none runs; nil: no swap waits for that
	poll   *time.Timer     // looks for holders; nil until there are some
}

type lead struct {
	name  string
	f     func(context.Context)
	begun bool
	runs  bool
	end   context.CancelFunc
	held  int // the pid of the process that was said to hold it up
}

// Events of leads: one is to be added, one has returned, and it is time to look for holders again.
type (
	leadAdded struct {
		lead
		reply chan error
	}
	leadReturned struct{ lead *lead }
	holdersDue   struct{}
)

func (ls *leads) add(l lead) error {
	switch {
	case l.name == "" || len(l.name) > maxLeadName || !utf8.ValidString(l.name):
		return fmt.Errorf("the name has %d bytes; give it 1 to %d, of valid UTF-8", len(l.name), maxLeadName)
	case slices.ContainsFunc(ls.all, func(o *lead) bool { return o.name == l.name }):
		return errors.New("there is one of that name; give each a name of its own")
	case len(ls.all) == maxLeads:
		return fmt.Errorf("there are %d; put several into one function", maxLeads)
	}
	ls.all = append(ls.all, &l)
	return nil
}

// begin begins what no older generation runs. It is called whenever that may have changed.
func (ls *leads) begin(g *generations, group *work.Group, in inbox, log *slog.Logger) {
	if ls.paused {
		return
	}
	g.dropHolders()
	switch {
	case len(g.holders) == 0:
	case ls.poll == nil:
		ls.poll = time.AfterFunc(holderPoll, func() { in.post(holdersDue{}) })
	default:
		ls.poll.Reset(holderPoll)
	}
	for _, l := range ls.all {
		if l.begun || l.runs {
			continue
		}
		if pid := g.heldBy(l.name); pid != 0 {
			if l.held != pid {
				l.held = pid
				log.Info("Lead waits for an older generation", "name", l.name, "older_pid", pid)
			}
			continue
		}
		ctx, end := context.WithCancelCause(group.Draining())
		l.begun, l.runs, l.end = true, true, func() { end(ErrDraining) }
		group.Add(work.Task{Name: l.name, Lead: true, F: func() { l.f(ctx) },
			Over: func() { l.end(); in.post(leadReturned{l}) }})
	}
}

// pause ends what runs, and closes over when it has ended. What was ended begins again with resume.
func (ls *leads) pause(over chan<- struct{}) {
	ls.paused, ls.quiet = true, over
	for _, l := range ls.all {
		if l.runs {
			l.begun = false
			l.end()
		}
	}
	ls.returned(nil)
}

// returned is told that a function has, or nil.
func (ls *leads) returned(l *lead) {
	if l != nil {
		l.runs = false
	}
	if ls.quiet != nil && !slices.ContainsFunc(ls.all, func(l *lead) bool { return l.runs }) {
		close(ls.quiet)
		ls.quiet = nil
	}
}

// resume lets functions begin. One that has not ended yet begins again when it has.
func (ls *leads) resume() { ls.paused, ls.quiet = false, nil }

// heldBy is the process that may run the function of that name, or 0.
func (g *generations) heldBy(name string) int {
	for _, e := range g.older {
		if e.Leads == nil || slices.Contains(e.Leads, name) {
			return e.PID
		}
	}
	for _, h := range g.holders {
		if len(h.Leads) == 0 || slices.Contains(h.Leads, name) {
			return h.PID
		}
	}
	return 0
}

// dropHolders forgets the processes that are gone.
func (g *generations) dropHolders() {
	g.holders = slices.DeleteFunc(g.holders, func(h holder) bool {
		return !g.procs.alive(h.PID) || !h.Until.IsZero() && time.Now().After(h.Until)
	})
}

// hold is what is known of the leads of e, to be kept without its link.
func (e *elder) hold() (h holder, any bool) {
	h = holder{PID: e.PID, Leads: e.Leads}
	if !e.Deadline.IsZero() {
		h.Until = e.Deadline.Add(2 * killGrace).Round(0)
	}
	return h, e.Leads == nil || len(e.Leads) > 0
}

func (g *generations) keepHolder(e *elder) {
	if h, any := e.hold(); any {
		g.holders = append(g.holders, h)
	}
}

func (g *generations) dropHolder(pid int) {
	g.holders = slices.DeleteFunc(g.holders, func(h holder) bool { return h.PID == pid })
}

// allHolders are the older generations that may run a function of Lead. They are in hello, too: the
// next generation may take over without another message.
func (g *generations) allHolders() []holder {
	all := slices.Clone(g.holders)
	for _, e := range g.older {
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
