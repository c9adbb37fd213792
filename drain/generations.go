package drain

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

// message is what one generation tells another over their link. The old one begins:
//
//	old → new   hello      you are generation N, a service manager holds these sockets, and TLS sessions have these keys
//	new → old   failed     I am leaving, because
//	new → old   proven     I am process N, where a service manager is to follow it
//	            (Ready: through tableflip's pipe)
//	old → new   promoted   you are the main one
//	old → new   elder      a link to a generation that drains still
//	old → new   conns      take these connections
//	old → new   adopt      take this connection of the application's, and its state
//	new → old   took       I have these, or none because
//	old → new   report     so far am I with my drain
//	old → new   stop       leave
//	new → old   hurry      there are too many of us
//
// A generation that drains keeps its end; the other end is handed on to each main generation in turn. So connections
// that come to rest late go straight to the main one, and a link's end tells it that the elder is gone.
type message struct {
	Kind       kind              `json:"kind"`
	Generation int               `json:"generation,omitempty"`
	PID        int               `json:"pid,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Pulled     bool              `json:"pulled,omitempty"`
	Swap       bool              `json:"swap,omitempty"`
	Join       bool              `json:"join,omitempty"` // the old generation is not in the registry
	Ledger     []byte            `json:"ledger,omitempty"`
	PIDFile    string            `json:"pid_file,omitempty"` // which the new one owns from now on
	Control    string            `json:"control,omitempty"`  // the control socket, likewise
	Ports      []string          `json:"ports,omitempty"`    // where the old one listens too, or may; see ports
	Held       map[string]string `json:"held,omitempty"`     // sockets that a service manager holds, see listener.Held
	Tickets    []listener.Ticket `json:"tickets,omitempty"`
	Took       []bool            `json:"took,omitempty"`
	ID         int               `json:"id,omitempty"` // of adopt and its answer, which may come out of order
	TicketKeys []ticketKey       `json:"ticket_keys,omitempty"`
	Report     *Peer             `json:"report,omitempty"` // on who sends it, or whose link it is
	Base       *listener.Counts  `json:"base,omitempty"`   // what of that is in the totals
	Totals     *Totals           `json:"totals,omitempty"`
}

type kind string

const (
	kindHello    kind = "hello"
	kindFailed   kind = "failed"
	kindProven   kind = "proven"
	kindPromoted kind = "promoted"
	kindElder    kind = "elder"
	kindConns    kind = "conns"
	kindAdopt    kind = "adopt"
	kindTook     kind = "took"
	kindReport   kind = "report"
	kindStop     kind = "stop"
	kindHurry    kind = "hurry"
)

// elder is an older generation that lives.
type elder struct {
	Peer                  // as it last said
	base  listener.Counts // what of Open is in Service.past
	link  *link.Link
	heard chan struct{} // closed when nobody hears it any more
}

func newElder(l *link.Link, generation, pid int) *elder {
	return &elder{Peer: Peer{Generation: generation, PID: pid}, link: l, heard: make(chan struct{})}
}

func (e *elder) send(m message) {
	if e != nil {
		_ = e.link.Send(m) // one that is gone needs no telling
	}
}

// hear serves an elder's link until the elder is gone or the link is handed on.
func (s *Service) hear(e *elder) {
	var adopting sync.WaitGroup
	defer func() { adopting.Wait(); close(e.heard) }() // whoever gets the link next can't answer for this process
	for {
		var m message
		files, err := e.link.Receive(&m)
		if err != nil {
			closeAll(files)
			if !errors.Is(err, link.ErrPaused) {
				go s.call(func() { s.elderGone(e) })
			}
			return
		}
		switch m.Kind {
		case kindAdopt:
			adopting.Go(func() { s.adopt(e, m, files) })
			continue
		case kindConns:
			_ = s.set.Adopt(m.Tickets, files, func(took []bool) error {
				return e.link.Send(message{Kind: kindTook, Took: took})
			})
			continue
		}
		if !s.call(func() { s.fromElder(e, m, files) }) {
			closeAll(files)
		}
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (s *Service) fromElder(e *elder, m message, files []*os.File) {
	switch {
	case m.Kind == kindElder && len(files) == 1:
		l, err := link.Open(files[0])
		if err != nil {
			return
		}
		older := newElder(l, m.Generation, m.PID)
		older.Phase = Draining
		older.heed(m.Report)
		if m.Base != nil {
			older.base = *m.Base
		}
		// Usually the oldest comes first; but not where swaps come faster than links are handed on.
		i, _ := slices.BinarySearchFunc(s.older, m.Generation, func(e *elder, n int) int { return cmp.Compare(e.Generation, n) })
		s.older = slices.Insert(s.older, i, older)
		go s.hear(older)
		if s.phase == Swapping { // which began before this one was known
			s.hurryOldest()
		}
		return
	case m.Kind == kindReport:
		e.heed(m.Report)
	case m.Kind == kindPromoted && s.awaits:
		s.promoted(m)
	case m.Kind == kindStop && s.awaits: // the parent had not seen our Ready; if it wants to stop it will say so again
	case m.Kind == kindStop:
		if s.phase == Starting && !s.running {
			s.finish(m.Reason, nil)
			raise(syscall.SIGTERM) // the program is busy elsewhere and would not hear of it
			return
		}
		s.stopNow(nil)
	}
	closeAll(files)
}

func (s *Service) elderGone(e *elder) {
	if e == s.parent {
		s.parent = nil
		s.orphaned()
	}
	if i := slices.Index(s.older, e); i >= 0 {
		s.older = slices.Delete(s.older, i, i+1)
		s.past.add(e.Open, e.base)
		_ = e.link.Close()
		s.tell(slog.LevelInfo, "older generation is gone", nil, "older", e.Generation, "older_pid", e.PID, "left", s.olderNames())
		s.settle()
	}
}

// hurryOldest keeps the number of generations within Config.MaxGenerations when one more is to start.
func (s *Service) hurryOldest() {
	for i := range len(s.older) + 2 - s.cfg.MaxGenerations {
		e := s.older[i]
		if e.Hurried {
			continue
		}
		e.Hurried = true
		e.send(message{Kind: kindHurry})
		s.tell(slog.LevelWarn, fmt.Sprintf("too many generations: the oldest is told to leave within %v", killGrace), nil,
			"older", e.Generation, "older_pid", e.PID, "older_open", e.Open.Open(), "max", s.cfg.MaxGenerations)
	}
}

func (s *Service) hurry() {
	if s.phase == Draining && !s.hurried && time.Until(s.deadlineAt) > killGrace {
		s.hurried = true
		s.farewell.begin(killGrace / 2)
		s.set.Hurry(killGrace / 2)
		s.deadline.Stop()
		s.deadlineAt = time.Now().Add(killGrace)
		s.tell(slog.LevelWarn, fmt.Sprintf("told to leave within %v", killGrace), nil)
		s.deadline = time.AfterFunc(killGrace, func() {
			s.call(func() { s.cutOff("a newer generation asked to leave", s.bow) })
		})
	}
}
