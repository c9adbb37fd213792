package drain

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/owned"
	"github.com/baton-go/baton/drain/internal/process"
)

// A generation comes up, and takes over from the one that has started it.

func (r *runner) callRun() {
	owns := r.estate.any()
	if owns {
		r.estate.gate.Use()
		r.set.MayPark()
		if n := r.servers.countGraceful(); n > 0 {
			r.cfg.Logger.Warn("servers of ServeGraceful are not paused while the owners release their state: "+
				"only the handlers of Serve, ServeTLS and Track are", "servers", n)
		}
	}
	r.step(machine.RunCalled{Owns: owns})
}

func (r *runner) callReady() {
	go func() {
		var err error
		if r.cfg.Ready != nil {
			if err = await(r.ctx, orCrash, func() error { return r.cfg.Ready(r.ctx) }); err != nil {
				err = fmt.Errorf("drain: Config.Ready: %w", err)
			}
		}
		r.listens.close()
		r.post(machine.ReadyReturned{Err: err})
	}()
}

// probe lets a new generation show that it works, before anybody depends on it: not a single
// connection from outside is accepted, so that nothing is lost if it doesn't. It checks itself at
// once and at each quarter of the time.
func (r *runner) probe(hasten bool) {
	over := time.NewTimer(r.cfg.Probation)
	ctx, done := context.WithCancel(r.ctx)
	r.endWait = done
	if hasten {
		done()
	}
	go func() {
		err := r.servers.selfCheck(r.ctx, r.cfg)
		for again := r.cfg.Probation/4 + time.Millisecond; err == nil; err = r.servers.selfCheck(r.ctx, r.cfg) {
			select {
			case <-time.After(again):
				continue
			case <-over.C:
			case <-ctx.Done():
			}
			break
		}
		r.post(machine.ProbationOver{Err: err})
	}()
}

// sayReady also starts the ticks by which this generation takes over if the old one says nothing.
func (r *runner) sayReady() {
	if r.manager != nil { // tableflip keeps the pid of this process to itself
		r.others.parent.send(message{Kind: kindProven, PID: r.os.pid})
	}
	r.others.parent.send(message{Kind: kindOwns, Owned: r.estate.owners.Names()})
	err := r.os.ready()
	r.tell(EventProven, slog.LevelInfo, "proven", nil)
	if err != nil {
		r.tell(EventOldLost, slog.LevelWarn, "the old generation is gone before it could hand over", err)
		r.enqueue(machine.PredecessorGone{})
		return
	}
	ctx, done := context.WithCancel(r.ctx)
	r.endWait = done
	go func() {
		tick := time.NewTicker(lifecycle.Tick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.post(machine.Tick{})
			case <-ctx.Done():
				return
			}
		}
	}()
}

// prepare does everything that can fail. A disk that does not answer holds up no signal.
func (r *runner) prepare() {
	prepared := make(chan struct{})
	r.prepared = prepared
	go func() {
		err := r.parts.prepare()
		close(prepared)
		r.post(machine.Prepared{Err: err})
	}()
}

// acquire lets the owners acquire.
func (r *runner) acquire() {
	e := r.estate
	if !e.any() {
		e.given.Close()
		r.enqueue(machine.Acquired{})
		return
	}
	switch {
	case r.others.starter == nil:
	case r.word == nil:
		e.log.Warn("the old generation has died before it could release: the owners begin with what was saved")
	case !r.others.starter.peer.can(canOwn):
		e.log.Info("the old generation knows no owners: those of this one begin with what was saved")
	default:
		given, rest := e.given.Names(), e.owners.Names()
		rest = slices.DeleteFunc(rest, func(name string) bool { return slices.Contains(given, name) })
		if len(rest) > 0 {
			e.log.Info("the old generation has handed nothing over for owners: they begin with what was saved",
				"owners", rest)
		}
	}
	waited := r.word != nil
	go func() { r.post(machine.Acquired{Err: e.acquire(r.ctx, waited)}) }()
}

// takeOver makes this generation the main one, which says so as soon as its doors are open. What is
// served meanwhile waits in the kernel's queues.
func (r *runner) takeOver(e machine.TakeOver) {
	if r.endWait != nil {
		r.endWait()
	}
	if e.Pull {
		r.health.Pull() // before the first probe
	}
	// Asked before the parts are acquired, one of which closes these sockets. The old generation must serve the clients
	// in their queues; it would reset them if it believed that this one uses the sockets.
	unclaimed := r.set.Unclaimed()
	r.awaitLetGo()
	r.parts.acquire(r.word)
	if r.state.Trusts {
		r.others.starter.send(message{Kind: kindServing, Unused: unclaimed})
	}
	listeners := strings.Join(r.set.Addresses(), ", ")
	if r.state.Heir {
		r.tellIn(Ready, EventPromoted, slog.LevelInfo, "promoted", nil, "listeners", listeners)
	} else {
		r.tellIn(Ready, EventReady, slog.LevelInfo, "ready", nil, "listeners", listeners)
	}
}

// letGoTime is how long a generation without owners waits for the old one to let go before it starts another. One with
// owners waits for as long as that lives.
const letGoTime = time.Second

// letGoLate: letGoTime is over.
type letGoLate struct{}

// awaitLetGo notes that the old generation decides on what this one says next: that one may find this one dead, and be
// the main one again. Until it has let go, no handler uses what the owners have, and no other generation is started:
// two would serve.
func (r *runner) awaitLetGo() {
	old := r.others.starter
	r.undecided = r.state.Trusts && !r.state.Successor.Alone
	switch {
	case !r.undecided:
	case r.estate.any() && old.peer.can(canOwn):
		r.estate.hold()
	default:
		time.AfterFunc(letGoTime, func() { r.post(letGoLate{}) })
	}
}

// oldLetGo is called when the old generation has let go, or is gone.
func (r *runner) oldLetGo() {
	if !r.undecided {
		return
	}
	r.undecided = false
	if !r.state.Gone { // the owners save
		r.estate.gate.Open()
	}
	r.makeRoom()
}

func (r *runner) elderSaid(said elderSaid) {
	e, m := said.elder, said.message
	switch m.Kind {
	case kindElder:
		r.others.came(m.Generation)
		if len(said.files) == 1 { // or it is gone, or this process is out of descriptors
			r.olderJoins(said)
			said.files = nil
		}
		r.makeRoom()
	case kindReport:
		e.heed(m.Report)
		if e == r.others.starter {
			r.oldLetGo()
		}
	case kindPromoted:
		if e == r.others.starter {
			if r.word == nil {
				r.word = &m
			}
			if r.state.Successor.Phase == lifecycle.Awaiting {
				r.inheritStates(m.Owned, said.files)
				said.files = nil
			}
			r.step(m.word())
		}
	case kindForward:
		by := m.Generation
		if by == 0 {
			by = e.Generation
		}
		r.signals.inherit(m)
		r.step(machine.Forwarded{Verb: m.Signal, By: by})
	case kindStop:
		r.step(machine.ToldToLeave{Reason: m.Reason})
	}
	closeAll(said.files)
}

// inheritStates takes what the owners of the old generation have written.
func (r *runner) inheritStates(names []string, files []*os.File) {
	var err error
	if r.estate.given, err = owned.From(names, files); err != nil {
		r.cfg.Logger.Error("the state released by the old generation was lost on the way", "err", err)
	}
}

func (r *runner) olderJoins(said elderSaid) {
	l, err := r.os.open(said.files[0])
	if err != nil {
		return
	}
	older := r.others.join(l, said.message)
	// the reader before may have been another version
	older.send(message{Kind: kindAble, PID: r.os.pid, Protocol: r.cfg.speaks()})
	go r.adopter.hear(older)
	r.step(machine.Older{Count: len(r.others.older)})
}

func (r *runner) elderGone(e *elder) {
	parent := e == r.others.parent
	if e == r.others.starter {
		r.oldLetGo()
		r.manager.oldGone()
	}
	if r.others.leave(e) {
		r.history.gone(e.Generation)
		level := slog.LevelInfo
		if e.Phase != Stopped { // or it would have summed the swap up
			level = slog.LevelWarn
		}
		r.tell(EventOlderGone, level, "older generation is gone", nil,
			edition("older", e.Generation, e.PID, ""), "had", e.Peer.String(), "left", r.others.names())
		r.step(machine.Older{Count: len(r.others.older)})
	}
	if parent {
		go process.OwnStderr() // the old generation copies it no longer
		r.step(machine.PredecessorGone{})
	}
	r.makeRoom()
}
