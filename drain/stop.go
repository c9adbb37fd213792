package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/pidfile"
	"github.com/baton-go/baton/listener"
)

// Stop stops the service as SIGTERM does, and returns what Run returns, when it does: in the main
// generation, when older ones are gone too. The end of ctx ends the waiting, not the stop. It waits
// for OnEvent and the last log lines, too, for half a second at most.
func (s *Service) Stop(ctx context.Context) error {
	err := s.stop(ctx)
	if isClosed(s.ended) {
		select {
		case <-s.over:
		case <-ctx.Done():
		case <-time.After(lastWords / 2): // perhaps OnEvent waits for this, and is waited for
		}
	}
	return err
}

func (s *Service) stop(ctx context.Context) error {
	s.call(func() {
		if !s.stopping {
			s.stopNow(nil)
		}
	})
	select {
	case <-s.ended:
		return s.result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopNow begins a stop; a second one ends everything. Sig is nil where the program itself asks.
func (s *Service) stopNow(sig os.Signal) {
	switch {
	// The signal is meant for the service: its sender may have read this number in the PID file.
	case s.side.Phase == lifecycle.Awaiting:
		s.later.add(verbStop)
	case s.committing():
		s.keep(verbStop) // and heeds it here if the next one doesn't come to serve
	case s.leaveNow && sig != nil:
		s.cutOff("asked twice", 0, s.finish)
	case s.stopping:
		s.leaveNow = sig != nil // the first signal of its own, where another generation has forwarded one
	case s.phase == Draining:
		s.leaveNow = true
		s.cfg.Logger.Info("draining already: once more to leave now")
	case s.phase == Starting && !s.running && sig != nil:
		s.finish("stopped before it was ready", nil)
		s.die(sig) // the program is busy elsewhere and would not hear of it
	case s.phase == Starting || s.phase == Probation:
		s.parent.send(message{Kind: kindFailed, Reason: "stopped before it was ready"})
		s.finish("stopped before it was ready", nil)
	case s.phase == Swapping:
		s.stopping, s.leaveNow = true, true
		s.abortSwap(s.swap, "the service is to stop")
		s.pull("stopping")
	default:
		s.stopping, s.leaveNow = true, true
		s.pull("stopping")
		s.lameDuck()
	}
	s.report() // a pulled service stops without an event
}

// lameDuck waits until the balancers send nobody any more.
func (s *Service) lameDuck() {
	noticed, left := s.health.Noticed(), s.left
	go func() {
		for _, fact := range []<-chan struct{}{left, noticed} {
			select {
			case <-fact:
			case <-s.ended:
				return
			}
		}
		s.call(func() {
			s.os.letGo(true) // or our copies of the listening sockets would collect clients that nobody serves
			s.health.Down()
			s.drain("draining", nil, nil)
		})
	}()
}

// drain takes nothing new and finishes the rest: connections go to handover, or by and by; first runs before.
func (s *Service) drain(why string, handover listener.Handover, first func()) {
	s.enter(Draining, why)
	s.work.Drain()
	timeout := s.cfg.DrainTimeout
	grace := s.cfg.idleGrace(handover == nil)
	s.farewell.Begin(min(grace, timeout/2)) // and the other half to say goodbye
	s.deadlineAt = time.Now().Add(timeout)
	s.deadline = time.AfterFunc(timeout, func() {
		s.call(func() {
			if !s.hooks.gone { // which has a time of its own
				s.cutOff(fmt.Sprintf("DrainTimeout (%v) is over", timeout), lastWords, s.bow)
			}
		})
	})
	go func() {
		if first != nil {
			first()
		}
		// An HTTP/2 client that is slow to answer its PINGs, or who rests while IdleGrace is
		// longer, is not to be cut off.
		last := time.AfterFunc(timeout-timeout/4, func() { s.set.Hurry(timeout / 8) })
		defer last.Stop()
		if s.set.Leave(s.ctx, handover, grace) != nil {
			return // cut off
		}
		<-s.work.Finish()
		s.call(func() {
			s.settled = true
			s.settle()
		})
	}()
}

const swapGrace, stopGrace = 5 * time.Second, time.Second

func (c *Config) idleGrace(stop bool) time.Duration {
	grace := swapGrace
	if stop {
		grace = stopGrace
	}
	return cmp.Or(c.IdleGrace, min(grace, c.DrainTimeout/2))
}

// cutOff ends what has not ended by itself, and says what that was; last is what comes then. Background work has
// that long to return when no connection is left.
func (s *Service) cutOff(why string, within time.Duration, last func(why string, err error)) {
	switch {
	case s.phase == Stopped:
		return
	case s.cutting != nil:
		if within == 0 {
			s.cutting()
		}
		return
	}
	n := s.set.Close()
	var left []string
	for _, k := range []struct {
		count int
		name  string
	}{{n.Active, "active"}, {n.New, "new"}, {n.Idle, "idle"}, {n.HTTP2, "HTTP/2"}, {n.Hijacked, "hijacked"},
		{n.Other, "other"}} {
		if k.count > 0 {
			left = append(left, fmt.Sprintf("%d %s", k.count, k.name))
		}
	}
	what := "nothing"
	if len(left) > 0 {
		what = strings.Join(left, ", ") + " connection(s)"
	}
	for _, o := range s.older {
		o.send(message{Kind: kindHurry})
	}
	s.cutting = func() {
		s.cutting = nil
		if names := s.work.Names(); len(names) > 0 {
			what += "; background work: " + strings.Join(names, ", ")
		}
		if len(s.older) > 0 {
			what += "; older generations: " + s.olderNames()
		}
		if s.hooks.gone {
			what = "Config.Gone"
		}
		last("cut off", errors.Join(s.result, akin(fmt.Errorf("drain: %s: cut off %s", why, what), ErrCutOff)))
	}
	s.work.End()
	if within == 0 || len(s.work.Names()) == 0 {
		s.cutting()
		return
	}
	go func() {
		s.work.Wait(within)
		s.call(func() {
			if s.cutting != nil {
				s.cutting()
			}
		})
	}()
}

// fail ends the service because of an error of its own.
func (s *Service) fail(err error) {
	if s.side.Phase == lifecycle.Awaiting && !s.side.Trusts { // the old generation is letting go already
		s.result = err
		s.later.add(verbStop)
		return
	}
	switch s.phase {
	case Starting, Probation:
		s.side, _ = s.side.Step(lifecycle.Failed)
		s.parent.send(message{Kind: kindFailed, Reason: reason(err)})
		s.finish("failed", err)
	case Draining, Stopped:
	case Swapping: // the next generation is not to suffer from it
		s.swap.failure = errors.Join(s.swap.failure, err)
		s.tell(slog.LevelError, "failed while swapping; stops if the swap fails", err)
	default:
		s.result = err
		s.tell(slog.LevelError, "failed, stopping", err)
		s.stopNow(nil)
	}
}

// closeServers does not wait for long: what the program has put around its listeners and connections runs in it.
func (s *Service) closeServers() {
	servers, closed := s.servers, make(chan struct{})
	go func() {
		defer close(closed)
		for _, srv := range servers {
			_ = srv.Close()
		}
	}()
	select {
	case <-closed:
	case <-time.After(lastWords):
	}
}

// replaced tells whether another generation is the main one.
func (s *Service) replaced() bool { return s.swap != nil && s.swap.side.Phase == lifecycle.Retired }

// finish is the last thing the loop does.
func (s *Service) finish(why string, err error) {
	if s.deadline != nil {
		s.deadline.Stop()
	}
	replaced := s.replaced()
	guest := s.os.inherits && (s.phase == Starting || s.phase == Probation) // the sockets are the parent's
	s.result = err
	s.farewell.Begin(0)
	s.set.Close()
	s.work.End()
	s.closeServers()
	if s.phase == Swapping && s.swap.child != nil {
		s.swap.child.Kill()
	}
	s.os.letGo(!replaced && !guest)
	if !replaced { // it is the new generation's, which is about to write it
		if rmErr := pidfile.Path(s.cfg.PIDFile).Remove(s.os.pid); rmErr != nil {
			s.tell(slog.LevelWarn, "PID file", rmErr)
		}
	}
	s.control.end(replaced, guest)
	s.ports.Close()
	s.phase, s.since = Stopped, time.Now()
	s.lastReport = s.peer()
	n := s.set.Counts()
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
	}
	s.tell(level, why, err, "lost", n.Lost, "cutOff", n.CutOff, "part", n.Part, "junk", n.Junk, "moved",
		n.Moved, "adopted", n.Adopted)
	s.cancel()
}
