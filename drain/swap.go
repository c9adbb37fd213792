package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/listener"
)

// killGrace is how long a process that was told to leave may take before it is killed.
const killGrace = 5 * time.Second

// child is a process that was started to be the next generation; see process.Child.
type child interface {
	Ready() <-chan struct{}
	Exited() <-chan struct{}
	Err() error
	Kill()
	Release()
}

// swap is one attempt to start the next generation, seen from the old one. Its fields are the loop's, but for the
// channels and what is set before they are used.
type swap struct {
	generation int
	reply      chan<- error
	ctx        context.Context // ends when the swap is given up
	giveUp     context.CancelFunc
	link       *link.Link // nil until the child is about to be started
	child      child      // nil until it is started
	reason     string     // why it failed, as the child says
	peer       *protocol  // what the child speaks; nil as long as it has not said
	later      pending    // what came meanwhile, and goes to the next generation
	aborted    string     // why
	ours       error      // of a server of this generation, meanwhile

	gone chan struct{} // closed when the child says nothing more
	pid  chan int      // the child's, once it says

	asking  sync.Mutex         // held while connections are sent, so that the answers come in the order of asked
	asked   chan chan<- []bool // who waits for the child's answers
	refused error              // why nothing more is sent

	offers offers // of HandOver
}

// Swap starts the binary of this process anew and lets it take over, and returns nil when it has. Otherwise the error
// has the reason, and this generation serves on as if nothing had happened. The end of ctx ends the waiting, not the
// swap. Before the service is ready the swap waits until it is.
func (s *Service) Swap(ctx context.Context) error {
	reply := make(chan error, 1)
	if !s.call(func() { s.swapNow(reply) }) {
		return errEnded
	}
	var over error
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		over = ctx.Err()
	case <-s.ended:
		over = errEnded
	}
	select {
	case err := <-reply: // both at once
		return err
	default:
		return over
	}
}

func (s *Service) swapNow(reply chan<- error) {
	refuse := func(why string) {
		s.cfg.Logger.Warn("swap refused", "why", why, "phase", string(s.phase))
		if reply != nil {
			reply <- refusal("drain: swap: " + why)
		}
	}
	switch {
	case s.os.fds == nil:
		refuse("this platform can't hand sockets over")
	case s.stopping:
		refuse("the service is stopping")
	case s.phase == Ready || s.phase == Pulled:
		s.beginSwap(reply, pending{})
	case s.phase == Draining:
		refuse("this generation is draining; ask the main one")
	case reply != nil:
		refuse("not ready, or a swap is under way")
	case s.phase == Swapping:
		s.swap.later.add(verbSwap)
	default:
		s.later.add(verbSwap)
	}
}

// beginSwap begins a swap; later is what is known already that the next generation is to do.
func (s *Service) beginSwap(reply chan<- error, later pending) {
	sw := &swap{generation: s.generation + 1, reply: reply, later: later, gone: make(chan struct{}), pid: make(chan int, 1), asked: make(chan chan<- []bool, 64)}
	sw.ctx, sw.giveUp = context.WithTimeout(s.ctx, s.cfg.SwapTimeout)
	s.swap = sw
	s.swaps++
	s.enter(Swapping, "swap begun", "to", sw.generation, "binary", s.os.binary)
	s.hurryOldest()
	go func() {
		err := s.launch(sw)
		s.call(func() { s.swapEnded(sw, err) })
	}()
}

// launch starts the child and returns nil when it has taken over.
func (s *Service) launch(sw *swap) error {
	if err := preflight(s.os.binary, s.os.dir()); err != nil {
		return err
	}
	if s.cfg.Preflight != nil {
		if err := s.cfg.Preflight(sw.ctx, s.os.binary); err != nil {
			return fmt.Errorf("Config.Preflight: %w", err)
		}
	}
	var holders []holder
	s.call(func() { holders = s.allHolders() })
	near, far, err := link.Pair()
	if err != nil {
		return err
	}
	defer far.Close()
	if err := near.Post(message{
		Kind: kindHello, Protocol: &spoken, Generation: sw.generation, PID: s.os.pid, Dir: s.os.dir(), Held: s.set.Held(), Pulled: s.health.Pulled(),
		Ports: []string{s.cfg.HeartbeatAddress, s.cfg.AgentAddress}, TicketKeys: s.tickets.export(), Holders: holders,
	}); err != nil {
		_ = near.Close()
		return err
	}
	proceed := false
	s.call(func() {
		sw.link = near
		proceed = sw.aborted == ""
	})
	if !proceed {
		_ = near.Close()
		return errors.New("not started")
	}
	go s.hearSuccessor(sw)
	overstay := context.AfterFunc(sw.ctx, func() {
		s.call(func() { s.abortSwap(sw, fmt.Sprintf("not ready within SwapTimeout (%v)", s.cfg.SwapTimeout)) })
	})
	defer overstay()
	child, err := s.os.startChild(far)
	_ = far.Close()
	if err == nil {
		if !s.call(func() { sw.child = child }) { // so that finish kills it
			child.Kill()
		}
		err = s.becomesReady(sw, child)
	}
	if err != nil {
		near.Finish() // what the child has said is read to its end
		<-sw.gone
		_ = near.Close()
		return err
	}
	overstay()
	s.announce(sw)
	ctx, cancel := context.WithTimeout(s.ctx, killGrace)
	defer cancel()
	s.set.EndReads(ctx) // before the child is told to begin; outside of the loop, since a reader may wait for the loop
	return nil
}

// becomesReady waits until the child says that it is ready. Once the swap is given up, the child has been asked to leave;
// if it doesn't, it is killed.
func (s *Service) becomesReady(sw *swap, c child) error {
	late := make(chan struct{})
	defer context.AfterFunc(sw.ctx, func() {
		select {
		case <-time.After(killGrace):
			close(late)
		case <-c.Exited():
		}
	})()
	select {
	case <-c.Ready():
		return nil
	case <-c.Exited():
		return c.Err()
	case <-late:
	}
	c.Kill()
	<-c.Exited()
	return fmt.Errorf("killed: %w", c.Err())
}

// abortSwap asks the child to leave, see becomesReady.
func (s *Service) abortSwap(sw *swap, why string) {
	if s.phase != Swapping || s.swap != sw || sw.aborted != "" {
		return
	}
	sw.aborted = why
	sw.giveUp()
	if sw.link != nil {
		_ = sw.link.Post(message{Kind: kindStop, Reason: why})
	}
}

func (s *Service) swapEnded(sw *swap, err error) {
	sw.giveUp()
	s.lastSwap = &SwapResult{At: time.Now(), Generation: sw.generation}
	if err != nil {
		s.swapFailed(sw, err)
	} else {
		s.succeeded(sw)
	}
	if sw.reply != nil {
		if err != nil {
			err = errors.New(s.lastSwap.Err)
		}
		sw.reply <- err
	}
}

func (s *Service) swapFailed(sw *swap, err error) {
	if why := cmp.Or(sw.aborted, sw.reason); why != "" {
		err = fmt.Errorf("%s (%w)", why, err)
	}
	if errors.Is(err, syscall.ENOEXEC) {
		err = fmt.Errorf("%w; %s is no program for this machine", err, s.os.binary)
	}
	s.manager.swapFailed(err)
	err = fmt.Errorf("drain: swap to generation %d failed, generation %d serves on: %w", sw.generation, s.generation, err)
	s.lastSwap.Err = err.Error()
	s.swap = nil
	s.past.FailedSwaps++
	s.phase, s.since = Ready, time.Now()
	if s.health.Pulled() {
		s.phase = Pulled
	}
	s.takeBack()
	s.tell(slog.LevelError, "swap failed", err)
	switch {
	case s.stopping:
		s.result = sw.ours
		s.lameDuck()
	case sw.ours != nil:
		s.fail(sw.ours)
	case sw.later.swap:
		s.beginSwap(nil, sw.later.next())
	}
}

// succeeded tells the child that it is the main one, and drains what is here into it.
func (s *Service) succeeded(sw *swap) {
	sw.child.Release()
	s.os.letGo(false)
	m := message{Kind: kindPromoted, PID: s.os.pid, PIDFile: s.cfg.PIDFile, Pulled: sw.later.pull || s.cfg.KeepPull && s.health.Pulled(), Swap: sw.later.swap, PullLast: sw.later.pullLast, Ledger: s.health.Export()}
	m.TicketKeys = s.tickets.end()
	s.bequeath(&m)
	m.Control = s.control.leave()
	s.closePorts()
	m.Join = !s.hooks.joined
	s.hooks.stop()
	if err := sw.link.Post(m); err != nil {
		s.tell(slog.LevelWarn, "the next generation is gone", err)
	}
	if s.stopping {
		_ = sw.link.Post(message{Kind: kindStop, Reason: "asked for during the swap"})
	}
	s.result = sw.ours
	s.stopping, s.leaveNow = false, false // from here on a signal is meant for what is left here
	older := s.older
	s.older = nil
	s.drain("replaced", sw.handover, func() {
		for _, e := range older {
			e.link.Pause()
			<-e.heard
			_ = sw.link.Send(message{Kind: kindElder, Generation: e.Generation, PID: e.PID, Report: &e.Peer, Base: &e.base}, e.link)
			_ = e.link.Close()
		}
	})
	// Whoever has the far end of the link gets them: what one main generation has not read, the next one does.
	s.beginReports(func(p Peer) { _ = sw.link.Send(message{Kind: kindReport, Report: &p}) })
}

// handover is the listener.Handover to the child.
func (sw *swap) handover(tickets []listener.Ticket, conns []syscall.Conn) ([]bool, error) {
	answer := make(chan []bool, 1)
	if err := sw.ask(message{Kind: kindConns, Tickets: tickets}, conns, answer); err != nil {
		return nil, err
	}
	select {
	case took := <-answer:
		return took, nil
	case <-sw.gone:
	}
	select {
	case took := <-answer: // its last word
		return took, nil
	default:
		return nil, errors.New("drain: the next generation is gone")
	}
}

func (sw *swap) ask(m message, conns []syscall.Conn, answer chan<- []bool) error {
	sw.asking.Lock()
	defer sw.asking.Unlock()
	if sw.refused == nil {
		sw.asked <- answer // first: the answer may come before Send returns
		sw.refused = sw.link.Send(m, conns...)
	}
	return sw.refused
}

// hearSuccessor hears the child, and later whichever generation has the child's end of the link.
func (s *Service) hearSuccessor(sw *swap) {
	defer close(sw.gone)
	defer sw.link.Close() // what it says from now on is not heard, so it is to say nothing
	for {
		var m message
		files, err := sw.link.Receive(&m)
		for _, f := range files {
			_ = f.Close()
		}
		if err != nil {
			return
		}
		switch m.Kind {
		case kindTook:
			if m.ID != 0 {
				sw.offers.answered(m)
				continue
			}
			select {
			case answer := <-sw.asked:
				answer <- m.Took
			default: // an answer to no question
				return
			}
		case kindProven:
			select {
			case sw.pid <- m.PID:
			default:
			}
		case kindAble:
			s.call(func() { sw.peer = m.Protocol })
		case kindFailed:
			s.call(func() { sw.reason = m.Reason })
		case kindHurry:
			s.call(s.hurry)
		}
	}
}
