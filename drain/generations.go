package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/proc"
	"github.com/baton-go/baton/listener"
)

// elder is an older generation that lives.
type elder struct {
	Peer                  // as it last said
	base  listener.Counts // what of Open is in Service.past
	link  *link.Link
	peer  *protocol     // of a parent: what it speaks
	heard chan struct{} // closed when nobody hears it any more

	claims claims
}

func newElder(l *link.Link, generation, pid int) *elder {
	return &elder{Peer: Peer{Generation: generation, PID: pid}, link: l, heard: make(chan struct{})}
}

// send tells it something, without waiting. One that is gone needs no telling.
func (e *elder) send(m message) {
	if e != nil {
		_ = e.link.Post(m)
	}
}

// tell is send, but waits until it is said: for the last words.
func (e *elder) tell(m message) {
	if e != nil {
		_ = e.link.Send(m)
	}
}

// flush lets what was sent go out before the process ends. It does not wait for long.
func (s *Service) flush() {
	var saying sync.WaitGroup
	links := []*link.Link{}
	if s.parent != nil {
		links = append(links, s.parent.link)
	}
	for _, e := range s.older {
		links = append(links, e.link)
	}
	if s.swap != nil && s.swap.link != nil {
		links = append(links, s.swap.link)
	}
	for _, l := range links {
		saying.Go(func() { l.Flush(lastWords) })
	}
	saying.Wait()
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
			paused := errors.Is(err, link.ErrPaused)
			if paused && e.claims.outlast(e.link) {
				continue
			}
			e.claims.end(paused)
			if !paused {
				go s.call(func() { s.elderGone(e) })
			}
			return
		}
		switch m.Kind {
		case kindAdopt:
			adopting.Go(func() {
				s.adopt(m, files, func(reply message) error {
					reply.Kind, reply.ID = kindTook, m.ID
					return e.link.Send(reply)
				})
			})
			continue
		case kindOffer:
			if word := e.claims.begin(m.ID); word != nil {
				adopting.Go(func() { s.consider(e, m, files, word) })
				continue
			}
		case kindYours:
			closeAll(files)
			e.claims.settle(m.ID, nil)
			continue
		case kindWithdrawn:
			closeAll(files)
			e.claims.settle(m.ID, listener.ErrWithdrawn)
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
	case m.Kind == kindElder && len(files) == 0: // it is gone, or this process is out of descriptors
		s.coming = max(0, s.coming-1)
		s.makeRoom()
	case m.Kind == kindElder && len(files) == 1:
		s.coming = max(0, s.coming-1)
		l, err := link.Open(files[0])
		if err != nil {
			return
		}
		older := newElder(l, m.Generation, m.PID)
		older.Phase = Draining
		older.heed(m.Report)
		s.dropHolder(older.PID) // its link tells more
		if m.Base != nil {
			older.base = *m.Base
		}
		// Usually the oldest comes first; but not where swaps come faster than links are handed on.
		i, _ := slices.BinarySearchFunc(s.older, m.Generation,
			func(e *elder, n int) int { return cmp.Compare(e.Generation, n) })
		s.older = slices.Insert(s.older, i, older)
		// the reader before may have been another version
		older.send(message{Kind: kindAble, PID: s.os.pid, Protocol: &spoken})
		go s.hear(older)
		s.makeRoom()
		return
	case m.Kind == kindReport:
		e.heed(m.Report)
		s.beginLeads()
	case m.Kind == kindPromoted && e == s.giver:
		if s.word == nil {
			s.word = &m
		}
		s.stepUp(lifecycle.OldPromotes)
	case m.Kind == kindForward:
		s.heed(m.Signal, cmp.Or(m.Generation, e.Generation), nil)
	case m.Kind == kindStop && s.side.Trusts && s.side.Phase == lifecycle.Main: // it hasn't heard of that yet
	case m.Kind == kindStop && s.side.Phase == lifecycle.Awaiting: // a version that lets go then says stop once more
		s.stepUp(lifecycle.OldRefuses)
	case m.Kind == kindStop:
		if s.phase == Starting && !s.running {
			s.finish(m.Reason, nil)
			s.die(syscall.SIGTERM) // the program is busy elsewhere and would not hear of it
			return
		}
		s.stopNow(nil)
	}
	closeAll(files)
}

func (s *Service) elderGone(e *elder) {
	if e == s.parent {
		s.keepHolder(e)
		s.parent = nil
		s.stepUp(lifecycle.OldGone)
	}
	if e == s.giver {
		s.coming = 0 // it has sent those that it could
	}
	if i := slices.Index(s.older, e); i >= 0 {
		s.older = slices.Delete(s.older, i, i+1)
		s.past.add(e.Open, e.base)
		_ = e.link.Close()
		s.exiting = append(slices.DeleteFunc(s.exiting, func(pid int) bool { return !proc.Alive(pid) }), e.PID)
		s.keepHolder(e)
		s.beginLeads()
		s.tell(slog.LevelInfo, "older generation is gone", nil, "older", e.Generation, "older_pid", e.PID,
			"left", s.olderNames())
		s.settle()
	}
	s.makeRoom()
}

// awaitExits waits for the processes of generations whose links have ended: they may take a moment longer.
func (s *Service) awaitExits(ctx context.Context) {
	var pids []int
	s.call(func() { pids = slices.Clone(s.exiting) })
	for until := time.Now().Add(lastWords); ctx.Err() == nil && time.Now().Before(until) &&
		slices.ContainsFunc(pids, proc.Alive); {
		time.Sleep(time.Millisecond)
	}
}

// makeRoom keeps the number of generations within Config.MaxGenerations: the oldest are told to
// leave, and the next one is not started before they have.
func (s *Service) makeRoom() {
	if s.phase != Swapping || isClosed(s.swap.room) {
		return
	}
	excess := len(s.older) + s.coming + 2 - s.cfg.MaxGenerations
	if excess <= 0 {
		close(s.swap.room)
		return
	}
	for _, e := range s.older[:min(excess, len(s.older))] {
		if e.Hurried {
			continue
		}
		e.Hurried = true
		e.send(message{Kind: kindHurry})
		s.tell(slog.LevelWarn, fmt.Sprintf("too many generations: the swap waits for the oldest, which "+
			"is told to leave within %v", killGrace), nil,
			"older", e.Generation, "older_pid", e.PID, "older_open", e.Open.Open(), "max", s.cfg.MaxGenerations)
	}
}

func (s *Service) hurry() {
	if s.phase == Draining && !s.hurried && time.Until(s.deadlineAt) > killGrace {
		s.hurried = true
		s.farewell.Begin(killGrace / 2)
		s.set.Hurry(killGrace / 2)
		s.deadline.Stop()
		s.deadlineAt = time.Now().Add(killGrace)
		s.tell(slog.LevelWarn, fmt.Sprintf("told to leave within %v", killGrace), nil)
		if s.settled {
			s.settle()
			return
		}
		s.deadline = time.AfterFunc(killGrace, func() {
			s.call(func() { s.cutOff("a newer generation asked to leave", lastWords, s.bow) })
		})
	}
}
