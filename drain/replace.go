package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/pidfile"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/listener"
)

// This generation is replaced by the next one, or takes everything back.

// refuse answers the caller of Swap.
func (r *runner) refuse(e machine.Refuse) {
	if r.asking == nil {
		return
	}
	is := map[machine.Refusal][]error{
		machine.Unsupported: {ErrNotSupported}, machine.TooEarly: {ErrNotReady}, machine.Leaving: leaving(&r.state),
	}
	r.asking <- refused("drain: swap: "+e.Why, is[e.Is]...)
}

func (r *runner) beginSwap(attempt int) {
	sw := newSwap(r.state.Generation+1, attempt, r.asking)
	sw.begun = time.Now()
	sw.offers.bound = min(offerTime, r.cfg.DrainTimeout/4)
	r.swap = sw
	r.swaps++
	timeout := r.cfg.SwapTimeout
	if len(r.others.older)+len(r.others.coming)+2 > r.cfg.MaxGenerations {
		timeout += comingGrace + 2*(killGrace+lastWords) // for links to come, for the oldest to leave, and to exit
	}
	sw.ctx, sw.giveUp = context.WithTimeout(r.ctx, timeout)
	r.tellIn(Swapping, EventSwapBegun, slog.LevelInfo, "swap begun", nil, "to", sw.generation, "binary", r.os.binary)
	r.makeRoom()
	context.AfterFunc(sw.ctx, func() {
		r.post(machine.SwapTimedOut{Attempt: attempt, Why: fmt.Sprintf("not ready within SwapTimeout (%v)",
			r.cfg.SwapTimeout)})
	})
	go func() {
		if err := sw.launch(r.inbox, r.os, r.cfg.Preflight); err != nil {
			r.post(machine.NotStarted{Attempt: attempt, Err: err})
		}
	}()
}

// comingGrace is how long a swap waits for the links of older generations before it tells one of them to leave.
const comingGrace = 5 * time.Second

// makeRoom keeps the number of generations within Config.MaxGenerations: the oldest are told to
// leave, and the next one is not started before they have.
func (r *runner) makeRoom() {
	if r.state.Phase != machine.Swapping || isClosed(r.swap.room) || r.undecided {
		return
	}
	told, room := r.others.hurry(r.cfg.MaxGenerations, time.Since(r.swap.begun) < comingGrace)
	for _, e := range told {
		r.tell(EventOlderHurried, slog.LevelWarn, fmt.Sprintf("too many generations: the swap waits for "+
			"the oldest, which is told to leave within %v", killGrace), nil,
			"older", e.Generation, "older_pid", e.PID, "older_open", e.Open.Open(), "max", r.cfg.MaxGenerations)
	}
	if room {
		r.swap.exiting = append([]int(nil), r.others.exiting...)
		close(r.swap.room)
	}
}

// sayHello begins to say hello to the child that is about to be started.
func (r *runner) sayHello(h helloAsked) (a helloAnswer) {
	if r.swap != h.sw || r.state.Child.Aborted != "" {
		a.err = errNotStarted
		return a
	}
	h.sw.link = h.near
	a.hello, a.err = h.near.Begin(message{
		Kind: kindHello, Protocol: r.cfg.speaks(), Generation: h.sw.generation, PID: r.os.pid, Dir: r.os.dir(),
		Held: r.set.Held(), Score: process.Score(),
		Pulled: r.health.Pulled(), Ports: []string{r.cfg.HeartbeatAddress, r.cfg.AgentAddress},
		TicketKeys: r.tickets.Export(), Holders: r.others.allHolders(), Strange: h.strange,
	})
	return a
}

// childSpeaks is told what the child speaks. It says so once.
func (r *runner) childSpeaks(e childSpeaks) {
	p := e.able.Protocol
	if e.sw.peer != nil || p == nil {
		return
	}
	e.sw.peer, e.sw.childPID, e.sw.version = p, e.able.PID, e.able.Build
	close(e.sw.able)
	r.step(machine.ChildSpeaks{Attempt: e.sw.attempt, Forwards: p.can(canForward), Misfit: p.fits(),
		Took: time.Since(e.sw.started)})
}

// childServes is told that the child serves, and which sockets it does not use. A child that is dead by now does not
// count, unless it has handed over in turn: then another generation has its end of the link.
func (r *runner) childServes(e childServes) {
	sw := e.sw
	doubtful := r.swap != sw || r.state.Phase == machine.Stopped || r.state.Child.Over() ||
		r.state.Child.Phase == lifecycle.Dying
	if sw.child != nil && !doubtful && !sw.link.Hung() && sw.child.Release() {
		sw.unused = e.unused
		r.step(machine.Child{Attempt: sw.attempt, Event: lifecycle.ChildServes})
	}
}

// announcing tells whether the child is to be told that it is the main generation, and what it can.
func (r *runner) announcing(sw *swap) childAble {
	if sw.peer == nil {
		r.step(machine.ChildSpeaks{Attempt: sw.attempt, Misfit: sw.peer.fits()})
	}
	wanted := r.swap == sw && r.state.Child.Phase == lifecycle.Announcing
	return childAble{wanted, sw.peer.can(canOwn)}
}

// askToLeave tells the child that it is not wanted. In a stop by systemd that waits a moment. Systemd signals the main
// process, then the others of the unit. If it finds no other, it kills a main process that it has not started itself.
func (r *runner) askToLeave(why string) {
	to := r.swap.link
	if to == nil {
		return
	}
	ask := func() { _ = to.Post(message{Kind: kindStop, Reason: cut(why)}) }
	if r.state.Stopping && r.manager != nil {
		time.AfterFunc(signalTime, ask)
		return
	}
	ask()
}

// promote tells the child that it is the main one, with all that goes along.
func (r *runner) promote(e machine.Promote) {
	sw := r.swap
	m := message{
		Kind: kindPromoted, PID: r.os.pid, Pulled: e.Next.Pull || r.cfg.KeepPull && r.health.Pulled(),
		Swap: e.Next.Swap, PullLast: e.Next.PullLast,
	}
	if m.Pulled {
		m.PullBy = e.PullBy
	}
	r.parts.release(&m)
	given := sw.released().states
	m.Owned = given.Names()
	var states []syscall.Conn
	for _, f := range given.Files() {
		states = append(states, f)
	}
	turn, err := sw.link.Begin(m, states...)
	go func() {
		if err == nil {
			err = turn.Send()
		}
		told := machine.Child{Attempt: sw.attempt, Event: lifecycle.Promoted}
		if err != nil {
			told.Event = lifecycle.NotPromoted
			if !isClosed(sw.gone) {
				told.Why = reason(err)
			}
		}
		r.post(told)
	}()
}

// letGo is called when the child serves.
func (r *runner) letGo() {
	sw := r.swap
	close(sw.over)
	sw.giveUp()
	r.beginReports() // the first one is what the child waits for
	sw.child.Release()
	sw.done = time.Now()
	r.history.swapped(SwapResult{At: sw.done, Generation: sw.generation}, "")
	if sw.reply != nil {
		sw.reply <- nil
	}
	r.parts.yield()
	r.set.Orphan(sw.unused)
	letGo := func() {
		r.estate.letGo(sw.released(), &forward.Proxy{Dial: sw.carry, Listener: listenerOf,
			Draining: func(ctx context.Context) context.Context { return drainingBy(ctx, r.farewell) }})
	}
	if sw.settled != nil && !isClosed(sw.settled) { // the child, which has no owners, has waited for no word
		go func() { <-sw.settled; letGo() }()
		return
	}
	letGo()
}

// extra is how many ticks the child may take besides, for its owners.
func (r *runner) extra(sw *swap) int {
	if sw.acquires {
		return r.estate.ticks()
	}
	return 0
}

// takeBack makes this generation the main one again, whose child is dead.
func (r *runner) takeBack(released bool) {
	sw := r.swap
	close(sw.over)
	_ = sw.link.Close()
	r.set.ResumeReads()
	r.manager.reclaim()
	if released {
		r.parts.regain()
	}
	reason, stops := r.state.Child.Reason, r.state.Stopping || r.state.Child.Next.Stop
	settled := sw.settled
	go func() { // a disk that is slow holds up the next swap, and nothing else
		if settled != nil {
			<-settled // announce may have come to these two just now
			r.set.ResumeReads()
			r.manager.reclaim()
			_ = r.estate.regain()
		}
		err := sw.child.Err()
		if reason == "" && !stops {
			reason = sw.child.Said()
			err = fmt.Errorf("%w; %s", err, reason)
		}
		if cure := cureOf(reason); cure != "" {
			err = fmt.Errorf("%w%s", err, cure)
		}
		r.post(machine.TakenBack{Attempt: sw.attempt, Err: err, PIDFile: pidfile.Path(r.cfg.PIDFile).Reclaim(r.os.pid)})
	}()
}

// inUse is how package net says that it can't have an address.
var inUse = regexp.MustCompile(`listen (tcp[46]?|udp[46]?|unix\w*) ([^\s"]+): bind: address already in use`)

// cureOf is listener.Cure for what the child says, as far as that has none itself. It is often this process that holds
// the address: the program opens it by itself in each generation.
func cureOf(said string) string {
	m := inUse.FindStringSubmatch(said)
	if m == nil || strings.Contains(said, "held by") || strings.Contains(said, "holds the address") {
		return ""
	}
	return listener.Cure(m[1], m[2], syscall.EADDRINUSE)
}

// swapFailed tells why.
func (r *runner) swapFailed(e machine.SwapFailed) {
	sw, err := r.swap, e.Err
	sw.giveUp()
	if e.Why != "" {
		err = fmt.Errorf("%s (%w)", strings.TrimPrefix(e.Why, "drain: "), err)
	}
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		err = fmt.Errorf("%w; %s is no program for this machine", err, r.os.binary)
	case errors.Is(err, syscall.EMFILE):
		err = fmt.Errorf("%w%s", err, listener.Cure("", "", syscall.EMFILE))
	}
	r.manager.swapFailed(err)
	cause := err
	err = fmt.Errorf("drain: swap to generation %d failed, generation %d serves on: %w", sw.generation,
		r.state.Generation, err)
	r.history.swapped(SwapResult{At: time.Now(), Generation: sw.generation, Err: err.Error()}, sw.version)
	r.swap = nil
	r.set.Unshare()
	r.others.past.FailedSwaps++
	r.tellIn(Phase(e.Phase), EventSwapFailed, slog.LevelError, "swap failed", cause, "to", sw.generation, "took",
		time.Since(sw.begun))
	if sw.reply != nil {
		sw.reply <- akin(err, append(leaving(&r.state), ErrSwapFailed)...)
	}
}

// successorAnswer is the swap by which this generation was replaced, or why there is none.
type successorAnswer struct {
	swap *swap
	err  error
}

func (r *runner) successor() successorAnswer {
	switch {
	case r.state.Phase == machine.Draining && r.state.Replaced():
		return successorAnswer{swap: r.swap}
	case r.state.Leaves():
		return successorAnswer{err: refused("the service stops, no generation follows", leaving(&r.state)...)}
	}
	return successorAnswer{err: refused("no swap has made this generation drain")}
}

func (r *runner) pullAnswer() pullAnswer {
	switch {
	case r.pull != nil:
		return pullAnswer{noticed: r.pull.noticed, over: r.pull.ctx.Done()}
	case r.state.Phase.Ends():
		err := refused("drain: pull: this generation is draining; ask the main one", leaving(&r.state)...)
		return pullAnswer{err: err}
	}
	return pullAnswer{err: akin(errors.New("drain: pull: the service is not ready; it will start pulled"), ErrNotReady)}
}

// beginReports tells the next generation how far the drain is. The process that has the far end of
// the link gets what is said: what one main generation has not read, the next one does.
func (r *runner) beginReports() {
	l, now := r.swap.link, r.peer()
	_ = l.Post(message{Kind: kindReport, Report: &now})
	r.reports = beginReports(r.inbox, now, func(p Peer) { _ = l.Wait(message{Kind: kindReport, Report: &p}) })
}

// handOn passes the links of older generations to the next one, and those that still arrive while it does.
func (r *runner) handOn() func() {
	sw, reader, older := r.swap, cmp.Or(r.swap.peer, &protocol{Version: 1}), r.others.handOver()
	return func() {
		for len(older) > 0 {
			sw.handOn(r.inbox, older, reader)
			late := make(olderAsked, 1)
			if !r.post(late) {
				return
			}
			older = <-late
		}
	}
}
