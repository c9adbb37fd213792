package drain

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/pidfile"
)

// ableTime is how long a child that is ready may take to say what it speaks: it has said so long
// before. One of a version that says nothing is taken for what it is then.
const ableTime = time.Second

// follow tells the machine what becomes of the child, until the swap is over.
func (s *Service) follow(sw *swap) {
	tick := time.NewTicker(lifecycle.Tick)
	defer tick.Stop()
	ready, silent := sw.child.Ready(), 0
	for {
		select {
		case <-ready:
			ready = nil
			s.happens(sw, lifecycle.ChildReady)
		case <-sw.child.Exited():
			over := true
			s.call(func() {
				if over = sw.side.Over(); !over {
					sw.link.Finish() // what the child has said is read to its end
				}
			})
			if over { // its end of the link is the next main generation's
				return
			}
			<-sw.gone
			s.happens(sw, lifecycle.ChildGone)
			return
		case <-tick.C:
			s.happens(sw, lifecycle.OldTick)
			if isClosed(sw.gone) { // and no exit in the same second
				if silent++; silent == 2 {
					s.happens(sw, lifecycle.ChildDeaf)
				}
			}
		case <-sw.over:
			return
		case <-s.ended:
			return
		}
	}
}

// hearOut is called when the child has exited, and returns when all that was said is heard. The
// child may have served, and handed over in turn, while this process was halted: then the next main
// generation has its end of the link.
func (sw *swap) hearOut() {
	for range 1000 { // 5s of this process's own: half a message holds nothing up for ever
		if isClosed(sw.gone) || sw.link.Hung() || sw.link.Quiet() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *Service) happens(sw *swap, e lifecycle.OldEvent) { s.call(func() { s.step(sw, e) }) }

// step does what the machine says.
func (s *Service) step(sw *swap, e lifecycle.OldEvent) {
	if s.swap != sw || s.phase == Stopped {
		return
	}
	var effects []lifecycle.OldEffect
	sw.side, effects = sw.side.Step(e)
	for _, effect := range effects {
		switch effect {
		case lifecycle.Announce:
			s.cfg.Logger.Info("next generation is ready", "next", sw.generation)
			go s.prepareToLetGo(sw)
		case lifecycle.Promote:
			s.promoteChild(sw)
		case lifecycle.LetGo:
			s.letGo(sw)
		case lifecycle.AskToLeave:
			if sw.link != nil {
				_ = sw.link.Post(message{Kind: kindStop, Reason: sw.aborted})
			}
		case lifecycle.Kill:
			sw.aborted = cmp.Or(sw.aborted, fmt.Sprintf("it was ready, and did not serve within %v",
				lifecycle.ServeTicks*lifecycle.Tick))
			sw.child.Kill()
		case lifecycle.PassOn:
			sw.passOn(sw.later)
		case lifecycle.TakeBack:
			s.takeBack(sw)
		}
	}
}

// committing tells whether the child is ready, and this generation still the main one.
func (s *Service) committing() bool {
	return s.phase == Swapping && s.swap.side.Phase >= lifecycle.Announcing && s.swap.side.Phase <= lifecycle.Waiting
}

// keep keeps what came while a swap is under way, for the next generation or, if the swap fails, for this one.
func (s *Service) keep(v verb) {
	s.swap.later.add(v)
	if s.swap.side.Sent() && s.swap.peer.can(canForward) {
		_ = s.swap.link.Post(message{Kind: kindForward, Signal: v, Generation: s.generation})
	}
}

// meet is told what the child speaks.
func (s *Service) meet(sw *swap, p *protocol) {
	if sw.peer != nil || p == nil {
		return
	}
	sw.peer = p
	close(sw.able)
	s.refuseMisfit(sw)
}

// refuseMisfit makes a swap fail to a child that speaks what this generation doesn't.
func (s *Service) refuseMisfit(sw *swap) {
	err := sw.peer.fits()
	if err != nil && s.swap == sw && sw.aborted == "" && sw.side.Phase <= lifecycle.Announcing {
		sw.aborted = err.Error()
		s.step(sw, lifecycle.GiveUp)
	}
}

// childServes is told that the child serves, and what it leaves to nobody. One that is dead by now has done so in
// vain, unless another has its end of the link: it has handed over in turn.
func (s *Service) childServes(sw *swap, unused []string) {
	doubtful := sw.side.Over() || sw.side.Phase == lifecycle.Dying
	if sw.child != nil && !doubtful && !sw.link.Hung() && sw.child.Release() {
		sw.unused = unused
		s.step(sw, lifecycle.ChildServes)
	}
}

// prepareToLetGo does what takes its time, outside of the loop, which serves on.
func (s *Service) prepareToLetGo(sw *swap) {
	select {
	case <-sw.able:
	case <-sw.gone:
	case <-time.After(ableTime):
	}
	announcing := false
	s.call(func() {
		s.refuseMisfit(sw)
		announcing = sw.side.Phase == lifecycle.Announcing
	})
	if !announcing {
		return
	}
	s.announce(sw)
	s.pause(sw)
	s.call(func() {
		sw.side.Mute = !sw.peer.can(canServe)
		s.step(sw, lifecycle.Announced)
	})
}

// pause makes reads of packet sockets wait, before the child is told to begin. Where it dies
// meanwhile, takeBack may come before the pause does.
func (s *Service) pause(sw *swap) {
	ctx, done := context.WithTimeout(s.ctx, killGrace)
	defer done()
	s.set.PauseReads(ctx)
	s.call(func() {
		if sw.side.Phase == lifecycle.Back && (s.swap == nil || s.swap.side.Phase == lifecycle.Starting) {
			s.set.ResumeReads()
		}
	})
}

// promoteChild tells the child that it is the main one, with all that goes along. What is taken
// from this generation here, takeBack gives it again.
func (s *Service) promoteChild(sw *swap) {
	m := message{
		Kind: kindPromoted, PID: s.os.pid, PIDFile: s.cfg.PIDFile, Control: s.control.place(),
		Join: !s.hooks.joined, Older: len(s.older) + s.coming,
		Pulled: sw.later.pull || s.cfg.KeepPull && s.health.Pulled(), Swap: sw.later.swap, PullLast: sw.later.pullLast,
		Ledger: s.health.Export(), TicketKeys: s.tickets.End(),
	}
	if m.Pulled && (!m.Swap || m.PullLast) {
		m.PullBy = s.pullBy
	}
	sw.bases = s.bequeath(&m)
	s.hooks.stop()
	s.control.resign() // no two generations answer in turn
	s.ports.Close()    // a client that connects at that moment would be reset, and the next one's are open
	sent, err := sw.link.Begin(m)
	go func() {
		if err == nil {
			err = sent()
		}
		s.call(func() {
			if err == nil {
				s.step(sw, lifecycle.Promoted)
				return
			}
			if !isClosed(sw.gone) {
				sw.aborted = cmp.Or(sw.aborted, "can't be told that it is the main one: "+reason(err))
			}
			s.step(sw, lifecycle.NotPromoted)
		})
	}()
	if sw.later.stop {
		sw.passOn(pending{stop: true})
	}
}

// passOn tells the child what came for it, in order.
func (sw *swap) passOn(p pending) {
	for _, v := range p.verbs() {
		switch {
		case sw.peer.can(canForward):
			_ = sw.link.Post(message{Kind: kindForward, Signal: v, Generation: sw.generation - 1})
		case v == verbStop:
			_ = sw.link.Post(message{Kind: kindStop, Reason: "asked for during the swap"})
		}
	}
}

// letGo drains what is here into the child, which serves.
func (s *Service) letGo(sw *swap) {
	close(sw.over)
	sw.giveUp()
	sw.child.Release()
	s.lastSwap = &SwapResult{At: time.Now(), Generation: sw.generation}
	s.past.Swaps++
	if sw.reply != nil {
		sw.reply <- nil
	}
	s.os.letGo(false)
	s.set.Orphan(sw.unused)
	s.control.leave()
	if s.stopping && !sw.later.stop {
		sw.passOn(pending{stop: true})
	}
	s.result = sw.failure
	s.stopping, s.leaveNow = false, false // from here on a signal is meant for what is left here
	older, reader := s.older, sw.peer
	if reader == nil {
		reader = &protocol{Version: 1}
	}
	for _, e := range older {
		e.base = sw.bases[e]
	}
	s.older = nil
	s.drain("replaced", sw.handover, func() {
		for _, e := range older {
			e.link.Pause()
			<-e.heard
			if !reader.can(canConfirm) { // and can't say so
				e.tell(message{Kind: kindAble, Protocol: reader})
			}
			if sw.link.Send(message{Kind: kindElder, Generation: e.Generation, PID: e.PID, Report: &e.Peer,
				Base: &e.base}, e.link) != nil {
				_ = sw.link.Post(message{Kind: kindElder})
			}
			_ = e.link.Close()
		}
	})
	// The process that has the far end of the link gets them: what one main generation has not read, the next one does.
	s.beginReports(func(p Peer) { _ = sw.link.Wait(message{Kind: kindReport, Report: &p}) })
}

// takeBack makes this generation the main one again, whose child is dead.
func (s *Service) takeBack(sw *swap) {
	close(sw.over)
	_ = sw.link.Close()
	s.set.ResumeReads()
	s.beginTickets(nil)
	s.reclaim()
	if sw.bases != nil { // promoteChild has closed the ports, and ended a Join that was under way
		s.control.begin()
		err := s.ports.Open(nil, false)
		s.servePorts()
		if err != nil {
			s.tell(slog.LevelError, "ports are closed", err)
		}
		if !s.hooks.joined && !s.health.Pulled() {
			s.joinHook()
		}
	}
	go func() { // a disk that is slow holds up the next swap, and nothing else
		err := pidfile.Path(s.cfg.PIDFile).Reclaim(s.os.pid)
		s.call(func() {
			if s.swap != sw || s.phase == Stopped {
				return
			}
			if err != nil {
				s.tell(slog.LevelError, "the PID file names a process that is dead", err)
			}
			s.swapFailed(sw, sw.child.Err())
		})
	}()
}
