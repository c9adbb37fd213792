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

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/link"
	"github.com/baton-go/baton/drain/internal/process"
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
	Release() bool
}

// swap is one attempt to start the next generation, seen from the old one. Its fields are the loop's, but for the
// channels and what is set before they are used. How it goes on once the child is started: see commit.go.
type swap struct {
	generation int
	reply      chan<- error
	ctx        context.Context // ends when the swap is given up, or over
	giveUp     context.CancelFunc
	side       lifecycle.Old
	link       *link.Link                 // nil until the child is about to be started
	child      child                      // nil until it is started
	peer       *protocol                  // what the child speaks; nil as long as it has not said
	later      pending                    // what came meanwhile, and goes to the next generation
	reason     string                     // why it failed, as the child says
	aborted    string                     // why, as this generation does
	failure    error                      // of a server of this generation, meanwhile
	unused     []string                   // sockets of this generation, as the child says
	bases      map[*elder]listener.Counts // what of the older generations is in the totals that the child was told

	room chan struct{} // closed when one more generation may live
	able chan struct{} // closed when the child has said what it speaks
	gone chan struct{} // closed when the child says nothing more
	over chan struct{} // closed when the child is the main generation, or dead
	pid  chan int      // the child's, once it says

	asking  sync.Mutex         // held while connections are sent, so that the answers come in the order of asked
	asked   chan chan<- []bool // those that wait for the child's answers
	refused error              // why nothing more is sent

	offers offers
}

func newSwap(generation int, reply chan<- error, later pending) *swap {
	return &swap{
		generation: generation, reply: reply, later: later,
		room: make(chan struct{}), able: make(chan struct{}), gone: make(chan struct{}),
		over: make(chan struct{}), pid: make(chan int, 1), asked: make(chan chan<- []bool, 64),
	}
}

// Swap starts the binary of this process anew and lets it take over, and returns nil when it has. Otherwise the error
// has the reason, and this generation serves on as if nothing had happened. The end of ctx ends the waiting, not the
// swap. Before the service is ready, and while another swap is under way, it is refused (RefusedError); a signal waits.
func (s *Service) Swap(ctx context.Context) error {
	reply := make(chan error, 1)
	if !s.call(func() { s.swapNow(reply) }) {
		return ErrStopped
	}
	var over error
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		over = ctx.Err()
	case <-s.ended:
		over = ErrStopped
	}
	select {
	case err := <-reply: // both at once
		return err
	default:
		return over
	}
}

func (s *Service) swapNow(reply chan<- error) {
	refuse := func(why string, is ...error) {
		s.cfg.Logger.Warn("swap refused", "why", why, "phase", string(s.phase))
		if reply != nil {
			reply <- refused("drain: swap: "+why, is...)
		}
	}
	switch {
	case s.os.fds == nil:
		refuse("this platform can't hand sockets over", ErrNotSupported)
	case s.stopping:
		refuse("the service is stopping", s.leaving()...)
	case s.phase == Ready || s.phase == Pulled:
		s.beginSwap(reply, pending{})
	case s.phase == Draining:
		refuse("this generation is draining; ask the main one", s.leaving()...)
	case s.phase == Swapping && reply != nil:
		refuse("not ready, or a swap is under way")
	case reply != nil:
		refuse("not ready, or a swap is under way", ErrNotReady)
	case s.phase == Swapping:
		s.keep(verbSwap)
	default:
		s.later.add(verbSwap)
	}
}

// beginSwap begins a swap; later is what is known already that the next generation is to do.
func (s *Service) beginSwap(reply chan<- error, later pending) {
	sw := newSwap(s.generation+1, reply, later)
	sw.offers.bound = min(offerTime, s.cfg.DrainTimeout/4)
	s.swap = sw
	s.swaps++
	timeout := s.cfg.SwapTimeout
	if len(s.older)+s.coming+2 > s.cfg.MaxGenerations {
		timeout += killGrace + lastWords // for the oldest to leave
	}
	sw.ctx, sw.giveUp = context.WithTimeout(s.ctx, timeout)
	s.enter(Swapping, "swap begun", "to", sw.generation, "binary", s.os.binary)
	s.makeRoom()
	context.AfterFunc(sw.ctx, func() {
		s.call(func() { s.abortSwap(sw, fmt.Sprintf("not ready within SwapTimeout (%v)", s.cfg.SwapTimeout)) })
	})
	go func() {
		if err := s.launch(sw); err != nil {
			s.call(func() { s.swapFailed(sw, err) })
		}
	}()
}

// launch starts the child.
func (s *Service) launch(sw *swap) error {
	select {
	case <-sw.room:
		s.awaitExits(sw.ctx)
	case <-sw.ctx.Done():
		return errors.New("not started")
	}
	if err := process.Preflight(s.os.binary, s.os.dir()); err != nil {
		return err
	}
	if s.cfg.Preflight != nil {
		if err := outlive(sw.ctx, func() error { return s.cfg.Preflight(sw.ctx, s.os.binary) }); err != nil {
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
	err = near.Post(message{
		Kind: kindHello, Protocol: &spoken, Generation: sw.generation, PID: s.os.pid, Dir: s.os.dir(),
		Held:   s.set.Held(),
		Pulled: s.health.Pulled(), Ports: []string{s.cfg.HeartbeatAddress, s.cfg.AgentAddress},
		TicketKeys: s.tickets.Export(), Holders: holders,
	})
	s.call(func() {
		sw.link = near
		if sw.aborted != "" {
			err = errors.New("not started")
		}
	})
	var c child
	if err == nil {
		c, err = s.os.startChild(far, func() bool { return !near.Hung() }, sw.hearOut)
	}
	if err != nil {
		_ = near.Close()
		return err
	}
	if !s.call(func() { sw.child = c }) { // so that finish kills it
		c.Kill()
	}
	_ = far.Close() // or its end would not be heard
	go s.hearSuccessor(sw)
	go s.follow(sw)
	return nil
}

// abortSwap makes a swap fail whose child is not ready yet: it is asked to leave, and killed if it doesn't.
func (s *Service) abortSwap(sw *swap, why string) {
	if s.phase != Swapping || s.swap != sw || sw.aborted != "" || sw.side.Phase != lifecycle.Starting {
		return
	}
	sw.aborted = why
	sw.giveUp()
	s.step(sw, lifecycle.GiveUp)
}

// swapFailed makes this generation what it was before.
func (s *Service) swapFailed(sw *swap, err error) {
	sw.giveUp()
	why := cmp.Or(sw.aborted, sw.reason)
	if sw.aborted != "" && sw.reason != "" { // a script that has started it may not have ended
		why += ": " + sw.reason
	}
	if why != "" {
		err = fmt.Errorf("%s (%w)", why, err)
	}
	if errors.Is(err, syscall.ENOEXEC) {
		err = fmt.Errorf("%w; %s is no program for this machine", err, s.os.binary)
	}
	s.manager.swapFailed(err)
	err = fmt.Errorf("drain: swap to generation %d failed, generation %d serves on: %w", sw.generation,
		s.generation, err)
	s.lastSwap = &SwapResult{At: time.Now(), Generation: sw.generation, Err: err.Error()}
	s.swap = nil
	s.set.Unshare()
	s.past.FailedSwaps++
	s.phase, s.since = Ready, time.Now()
	if s.health.Pulled() {
		s.phase = Pulled
	}
	s.takeBackLeads()
	s.tell(slog.LevelError, "swap failed", err)
	if sw.reply != nil {
		sw.reply <- akin(err, append(s.leaving(), ErrSwapFailed)...)
	}
	switch {
	case s.stopping:
		s.result = sw.failure
		s.lameDuck()
	case sw.failure != nil:
		s.fail(sw.failure)
	case sw.later.stop:
		s.stopNow(nil)
	case sw.later.swap:
		s.beginSwap(nil, sw.later.next())
	}
}

// handover is the listener.Handover to the child.
func (sw *swap) handover(tickets []listener.Ticket, conns []syscall.Conn) ([]bool, error) {
	if sw.offers.confirmed() {
		a, err := sw.offer(context.Background(), message{Kind: kindOffer, Tickets: tickets}, conns...)
		return a.Took, err
	}
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
	defer sw.withdrawAll()
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
				sw.answered(m)
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
			sw.meetReader(m.Protocol)
			s.call(func() { s.meet(sw, m.Protocol) })
		case kindServing:
			s.call(func() { s.childServes(sw, m.Unused) })
		case kindFailed:
			s.call(func() {
				if sw.aborted == "" { // or it says that it was asked to leave
					sw.reason = m.Reason
				}
			})
		case kindHurry:
			s.call(s.hurry)
		}
	}
}
