package drain

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// runner owns the state of this generation. Its goroutine, in loop, takes one event after the other,
// asks the machine what is to be done, and does that.
type runner struct {
	inbox
	over   chan struct{}   // closed when, besides, what the generation had to say is said
	ctx    context.Context // ends with the loop
	cancel context.CancelFunc
	free   func() // lets the process have another Service; may be nil

	// What does not change.
	cfg      *Config
	os       *system
	set      *listener.Set
	health   *health.State
	work     *work.Group
	farewell *work.Farewell
	tickets  *tlsconf.TicketKeys
	servers  *servers
	listens  *listenGate
	adopter  *adopter
	emitter  *emitter
	signals  *signals
	manager  *manager // nil: there is none
	control  *control
	hooks    *hooks
	estate   *estate
	parts    parts

	// What is the loop's.
	state   machine.State
	queue   []machine.Event // what effects have brought about, to be heeded next
	asking  chan<- error    // to the caller of Swap, while its event is heeded
	others  generations
	leads   leads
	lines   lines
	stopped time.Time // when a stop began
	word    *message  // promoted, by which the old generation has made this one the main one
	swap    *swap     // under way, or the one that succeeded
	swaps   int
	history history
	pull    *pulling // nil while not pulled
	drain   draining
	reports *reporter
	last    Peer // of the reports
	waiting waiting

	prepared  chan struct{} // closed when parts have prepared, or can't; nil before that begins
	undecided bool          // see awaitLetGo
	closed    bool          // the end
	dieBy     os.Signal     // at the end

	endWait context.CancelFunc // ends what a new generation waits for: the rest of probation, then the old one's word
}

// What is asked for: each has room for the answer.
type (
	statusAsked chan Status
	runAsked    chan bool // whether it is the first
	failAsked   struct {
		err   error
		early chan bool // whether Run has not been called
	}
	swapAsked chan error
	// successorAsked asks for the generation to hand over to.
	successorAsked chan successorAnswer
)

func (r *runner) loop() {
	for !r.closed {
		arrivals := r.signals.arrivals
		if r.state.Phase == machine.Stopped {
			arrivals = nil // sayLast heeds them
		}
		select {
		case e := <-r.events:
			if r.answer(e) {
				continue // nothing has changed
			}
			r.heed(e)
		case a := <-arrivals:
			if a.hangup {
				r.cfg.Logger.Info("the terminal is closed: stopping")
				r.step(machine.Asked{Verb: machine.Stop}) // which several of them ask for once
				break
			}
			r.step(machine.Signaled{Verb: r.cfg.Signals.verb(a.Signal), Signal: a.Signal, At: a.at})
		}
		if r.state.Leads() && !r.undecided {
			r.leads.begin(&r.others, r.work, r.inbox, r.cfg.Logger)
		}
		r.report()
		if wait := r.waiting.report(r.waitingView()); wait != nil {
			r.tell(EventWaiting, slog.LevelInfo, "waiting", nil, wait...)
		}
		r.others.watchExits(r.inbox, r.state.Phase == machine.Swapping && !isClosed(r.swap.room), r.tell)
	}
	r.manager.close()
	close(r.ended) // not deferred: a panic must crash the program, not make Run return nil
	r.sayLast()
	r.signals.stop() // not before: the next one would kill the process, which has ended well
	if r.free != nil {
		r.free()
	}
	close(r.over)
}

// step asks the machine what an event means, and does it.
func (r *runner) step(e machine.Event) {
	r.queue = append(r.queue, e)
	for len(r.queue) > 0 {
		var effects []machine.Effect
		r.state, effects = r.state.Step(r.queue[0], time.Now())
		r.queue = r.queue[1:]
		for _, effect := range effects {
			r.do(effect)
		}
	}
	r.lines.nameSignal()
}

// answer answers a question, and tells whether e is one.
func (r *runner) answer(e any) bool {
	switch e := e.(type) {
	case statusAsked:
		e <- r.status()
	case successorAsked:
		e <- r.successor()
	case mainAsked:
		e <- r.state.Phase != machine.Starting && r.state.Phase != machine.Probation
	case olderAsked:
		e <- r.others.handOver()
	case nothing:
	default:
		return false
	}
	return true
}

// heed takes an event. What is not of the runner's own is the machine's.
func (r *runner) heed(e any) {
	switch e := e.(type) {
	case failAsked:
		e.early <- !r.state.Running
		r.step(machine.ServerFailed{Err: e.err})
	case runAsked:
		e <- !r.state.Running
		r.emitter.observe()
		r.callRun()
	case swapAsked:
		r.asking = e
		r.step(machine.Asked{Verb: machine.Swap})
		r.asking = nil
	case pullAsked:
		r.step(machine.Asked{Verb: machine.Pull})
		e <- r.pullAnswer()
	case restoreAsked:
		var err error
		if is := leaving(&r.state); is != nil {
			err = refused("drain: restore: the service is leaving", is...)
		}
		r.step(machine.Asked{Verb: machine.Restore})
		e <- err
	case leadAdded:
		if r.state.Phase.Ends() {
			e.reply <- akin(ErrDraining, leaving(&r.state)...)
		} else {
			e.reply <- r.leads.add(e.lead)
		}
	case ownerAdded:
		e.reply <- r.estate.add(e, r.state.Running)
	case leadsPaused:
		r.leads.pause(e.over)
	case leadsResumed:
		r.leads.resume()
	case ownersSaved:
		r.ownersSaved(e)
	case leadReturned:
		r.leads.returned(e.lead)
		if r.reports != nil && r.state.Phase == machine.Draining {
			r.reports.tell(r.peer())
		}
	case holdersDue, statusDue, waitDue: // what is due is done after each event
	case reportDue:
		r.reports.due(r.peer())
	case hookReturned:
		if err := r.hooks.returned(e); err != nil {
			r.tell(EventHookFailed, slog.LevelError, "hook failed", err)
		}
	case trouble:
		r.tell(e.kind, e.level, e.message, e.err, e.attrs...)
	case elderSaid:
		r.elderSaid(e)
	case exitDue:
		r.makeRoom()
	case letGoLate:
		if !r.estate.any() {
			r.oldLetGo()
		}
	case elderGone:
		r.elderGone(e.elder)
	case helloAsked:
		e.reply <- r.sayHello(e)
	case childStarted:
		e.sw.child = e.child // which finish kills, if it comes to that
	case childExited:
		if r.swap == e.sw && !r.state.Child.Over() {
			e.sw.link.Finish() // what the child has said is read to its end
		}
	case childSpeaks:
		r.childSpeaks(e)
	case childServes:
		r.childServes(e)
	case ableOver:
		e.reply <- r.announcing(e.sw)
	case announced:
		r.step(machine.Child{Attempt: e.sw.attempt, Event: lifecycle.Announced, Mute: !e.sw.peer.can(canServe),
			Extra: r.extra(e.sw)})
	case watchdogDue:
		err := e.err
		if r.state.Phase.Ends() { // when the servers take nothing any more
			err = nil
		}
		if err != nil {
			r.cfg.Logger.Error("watchdog: self-check failed", "err", err, "phase", string(r.state.Phase))
		}
		e.reply <- r.manager.alive(err)
	case closed:
		r.conclude(e)
	case workWaited:
		if r.drain.cut != nil {
			r.step(machine.CutOffDone{Err: r.cutError()})
		}
	default:
		r.step(e)
	}
}

// tell tells of what has happened.
func (r *runner) tell(kind EventKind, level slog.Level, message string, err error, attrs ...any) {
	r.tellIn(Phase(r.state.Phase), kind, level, message, err, attrs...)
}

func (r *runner) tellIn(p Phase, kind EventKind, level slog.Level, message string, err error, attrs ...any) {
	e := Event{Time: time.Now(), Generation: r.state.Generation, PID: r.os.pid, Phase: p, Kind: kind,
		Message: message, Err: err, Open: r.set.Counts()}
	if kind == EventStopping {
		r.stopped = e.Time
	}
	if steps[kind] && level == slog.LevelInfo {
		level = slog.LevelDebug
	}
	attrs = r.lines.by(attrs)
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	attrs = append(attrs, open(e.Open)...)
	r.cfg.Logger.Log(context.Background(), level, message, append(attrs, "kind", string(kind))...)
	r.emitter.happened(e)
	r.reportIn(machine.Phase(p))
}

// report tells the service manager what has changed.
func (r *runner) report() { r.reportIn(r.state.Phase) }

// reportIn is report where one step of the machine goes through several phases, each of which the manager hears of: a
// swap that has failed, and the next one.
func (r *runner) reportIn(p machine.Phase) {
	if r.manager == nil {
		return
	}
	v := managerView{State: r.state, pullMax: r.cfg.PullMax, swapTimeout: r.cfg.SwapTimeout, status: r.status}
	v.Phase = p
	if p == machine.Swapping {
		v.swapBy = r.swapBy()
	}
	if watchdog := r.manager.report(v); watchdog > 0 {
		go guard(r.inbox, watchdog, func() error { // by a path that answers whether pulled or not
			return r.servers.ask(r.ctx, r.cfg.LivePath, r.cfg.PingPath, true)
		})
	}
}

// swapBy is when the swap under way fails.
func (r *runner) swapBy() (at time.Time) {
	if r.swap != nil {
		at, _ = r.swap.ctx.Deadline()
	}
	return at
}

func (r *runner) waitingView() waitingView {
	return waitingView{State: r.state, swapBy: r.swapBy, pull: r.pull, left: func() string {
		return r.left(connections(r.set.Counts()))
	}}
}

func (r *runner) status() Status {
	st := Status{
		Generation: r.state.Generation, PID: r.os.pid, Version: r.cfg.Version, Phase: Phase(r.state.Phase),
		Since: r.state.Since, Pulled: r.health.Pulled(), Listeners: r.set.Listeners(), Open: r.set.Counts(),
		Background: r.work.Names(), Probers: r.health.Probers(), Swaps: r.swaps, LastSwap: r.history.last,
		History: slices.Clone(r.history.records),
		Waits:   r.waiting.words(r.waitingView()), Older: r.others.peers(),
	}
	st.Total = r.others.total(st.Open, r.emitter.dropped())
	if r.state.Phase == machine.Draining {
		st.Deadline = r.state.Deadline
	}
	if err := r.health.Unhealthy(); err != nil {
		st.Unhealthy = oneLine(err.Error())
	}
	if st.Pulled {
		st.Noticed = isClosed(r.health.Noticed())
	}
	return st
}

// peer is this generation, as others see it.
func (r *runner) peer() Peer {
	p := Peer{
		Generation: r.state.Generation, PID: r.os.pid, Phase: Phase(r.state.Phase), Since: r.state.Since.Round(0),
		Hurried: r.state.Hurried, Open: r.set.Counts(), Tasks: len(r.work.Names()), Leads: r.work.Leads(),
	}
	if r.state.Phase == machine.Draining {
		p.Deadline = r.state.Deadline.Round(0)
	}
	return p
}
