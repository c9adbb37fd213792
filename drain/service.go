package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/internal/controlsock"
	"github.com/baton-go/baton/drain/internal/keeper"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/pidfile"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/drain/internal/sdnotify"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// Service is the lifecycle of one process; there can be one at a time. Its methods may be called from any goroutine.
//
// Nothing here is written after New: what changes, the runner owns.
type Service struct {
	cfg      Config
	set      *listener.Set
	health   *health.State
	mounted  *mounted
	work     *work.Group
	farewell *work.Farewell
	tickets  *tlsconf.TicketKeys
	servers  *servers
	listens  *listenGate
	emitter  *emitter
	starter  *elder // the generation that has started this process; nil: none has
	run      *runner
}

// New prepares the service: it installs the signal handlers, finds out whether another generation
// has started this process, and takes over its sockets. Nothing is served before Run. An error
// names the field of cfg that can't be used. Where a keeper is to stay in front, New replaces the program with it: see
// Config.Keeper.
//
// A process can have one Service at a time. New may be called again when Run of the Service before has returned, as in
// tests, or when New has failed. But where another generation has started the process, New fails again after a failure:
// that generation has been told that this one does not take over.
func New(cfg Config) (*Service, error) {
	if !oneService.TryLock() {
		return nil, refused("drain: New: a process can have one Service at a time: wait until Run of the one before " +
			"has returned")
	}
	err := cantTakeOver
	var s *Service
	if err == nil {
		s, err = begin(cfg)
	}
	if err != nil {
		if inherits() {
			cantTakeOver = err
		}
		oneService.Unlock()
	}
	return s, err
}

var (
	oneService   sync.Mutex // held from New until the service is over
	cantTakeOver error      // why New has failed in a process that was to take over
)

// begin is New where there is no Service.
func begin(cfg Config) (*Service, error) {
	process.OutliveBrokenPipes()
	s, err := configure(cfg)
	if err != nil && !inherits() {
		return nil, err // nothing is taken yet, so that New may be called again
	}
	if err == nil && !inherits() && s.cfg.Keeper.wanted() {
		return nil, keeper.Become(cmp.Or(cfg.Logger, slog.Default()), s.cfg.Signals.Stop)
	}
	in := newInbox()
	signals := newSignals(s.cfg.Signals, in.ended)
	var watching sync.WaitGroup
	if err == nil {
		watching.Go(signals.watch) // takes as long as a tenth of a swap
	}
	heardOld := func() {}
	if inherits() {
		heardOld = s.cfg.Signals.endEarly()
	}
	sys, sysErr := newSystem()
	sys.processes = osProcesses{&sys}
	o := origin{os: &sys}
	if sysErr == nil {
		o, sysErr = inherit(&s.cfg, &sys)
	}
	err = cmp.Or(err, sysErr)
	heardOld()
	watching.Wait()
	if err != nil {
		signals.stop()
		close(in.ended)
		o.starter.tell(message{Kind: kindFailed, Reason: reason(err)})
		return nil, err
	}
	s.assemble(in, signals, o)
	s.run.tell(EventStarting, slog.LevelInfo, "starting", nil)
	if all := s.cfg.Signals.all(); o.starter == nil && len(heeded(all)) < len(all) {
		s.cfg.Logger.Info("SIGHUP stays ignored, as under nohup: swap by Config.ControlSocket, or by another signal")
	}
	if o.starter != nil {
		go s.run.adopter.hear(o.starter)
	}
	go watchKeeper(o.keeper, in, signals, !o.os.inherits)
	s.run.free = func() { o.os.over(); oneService.Unlock() }
	go s.run.loop()
	return s, nil
}

// configure checks what can be checked without touching anything. The service has, also where there
// is an error, what is needed to say so.
func configure(cfg Config) (s *Service, err error) {
	s = &Service{
		work: work.NewGroup(ErrDraining), farewell: work.NewFarewell(ErrDraining), listens: new(listenGate),
	}
	if s.cfg, err = cfg.complete(); err != nil {
		return s, err
	}
	s.emitter, s.cfg.Logger = newEmitter(s.cfg.Logger, s.cfg.OnEvent)
	s.health, err = health.New(health.Config{
		Status: s.cfg.PingStatus, Failures: s.cfg.Failures, PullMin: s.cfg.PullMin, PullMax: s.cfg.PullMax,
		Probers: s.cfg.Probers, Healthy: s.cfg.Healthy,
		HealthChanged: func(err error) { s.run.post(healthChanged(err)) },
	})
	if err != nil {
		// The two names that Config has for its own.
		text := strings.NewReplacer("health: ", "drain: ", "Config.Status ", "Config.PingStatus ").Replace(err.Error())
		return s, errors.New(text)
	}
	s.mounted = &mounted{State: s.health, paths: make(map[any]map[string]bool)}
	if s.cfg.ControlSocket, err = controlsock.Clean(process.AtStart(s.cfg.ControlSocket)); err != nil {
		return s, err
	}
	if inherits() {
		return s, nil // what lies in the file system is the old generation's: see inherit
	}
	if err = controlsock.Check(s.cfg.ControlSocket); err != nil {
		return s, err
	}
	s.cfg.PIDFile = process.AtStart(s.cfg.PIDFile)
	return s, pidfile.Path(s.cfg.PIDFile).Check(os.Getpid())
}

// origin is what this process comes from.
type origin struct {
	os         *system
	starter    *elder   // the generation that has started it; nil: none has
	generation int      // its own number
	keeper     *os.File // closed when the keeper is gone; nil: there is none
}

// noSwap tells why this process can't be replaced by another one; "": it can.
func (o origin) noSwap() string {
	switch {
	case o.os.fds == nil:
		return "this platform can't hand sockets over"
	case o.keeper == nil && o.os.pid == 1:
		return "the container would end with PID 1: leave Config.Keeper at KeeperAuto"
	case o.keeper == nil && sdnotify.Deaf():
		return "systemd follows this process, hears of no other, and would end the service with it: " +
			"set Type=notify and NotifyAccess=main in the unit, or leave Config.Keeper at KeeperAuto"
	}
	return ""
}

// inherit takes over from the generation that has started this process.
func inherit(cfg *Config, sys *system) (o origin, err error) {
	o.os = sys
	if o.keeper, err = sys.keeper(); err != nil {
		return o, fmt.Errorf("drain: %w", err)
	}
	l, hello, err := sys.predecessor()
	switch {
	case l != nil:
		o.generation = hello.Generation
		o.starter = newElder(l, hello.Generation-1, hello.PID)
		o.starter.peer = hello.Protocol
		err = hello.Protocol.fits()
		o.starter.send(message{Kind: kindAble, PID: sys.pid, Protocol: cfg.speaks(), Build: cut(cfg.Version)})
	case sys.inherits:
		o.generation = 2 // at least: the one before is not of this library
	default:
		o.generation = 1
	}
	if sys.inherits {
		cfg.PIDFile = process.AtStart(cfg.PIDFile) // by the name of the folder that the old generation has told
		ours := []int{sys.pid, os.Getppid()}
		if o.starter != nil {
			ours = append(ours, o.starter.PID) // not the parent process, where a script is between the two
		}
		err = cmp.Or(err, pidfile.Path(cfg.PIDFile).Check(ours...))
	}
	if cfg.Logger != nil {
		cfg.Logger = cfg.Logger.With("generation", o.generation)
	}
	return o, err
}

// assemble puts together what the service consists of.
func (s *Service) assemble(in inbox, signals *signals, o origin) {
	s.starter = o.starter
	log := s.cfg.Logger
	s.set = listener.New(listener.Config{
		Fds: o.os.fds, MaxAge: s.cfg.MaxConnectionAge, OnLoss: (&losses{log: log}).lost,
		OnStarved: func(listener string, err error) {
			log.Error("clients wait in the queue, this process can't accept: raise its limit of open "+
				"files (LimitNOFILE=, ulimit -n)",
				"listener", listener, "err", err, "pid", o.os.pid)
		},
		OnWarning: func(err error) { log.Warn("server", "err", err) },
	})
	if s.cfg.KeepTLS {
		s.set.KeepTLS()
	}
	if o.os.inherits {
		s.set.Inherit(o.os.sockets)
	}
	var err error
	if s.tickets, err = tlsconf.NewTicketKeys(o.os.tickets); err != nil {
		log.Warn("clients can't resume their TLS sessions", "err", err)
	}
	manageSockets(o.os, s.set, log)
	noSwap := o.noSwap()
	if noSwap != "" && o.os.fds != nil {
		log.Warn("swaps are refused", "why", noSwap) // before an operator tries one
	}
	s.servers = newServers(s.set)
	r := &runner{
		inbox: in, over: make(chan struct{}),
		cfg: &s.cfg, os: o.os, set: s.set, health: s.health, work: s.work, farewell: s.farewell, tickets: s.tickets,
		servers: s.servers, listens: s.listens, emitter: s.emitter, signals: signals,
		manager: newManager(in, log, !o.os.inherits),
		control: newControl(s.cfg.ControlSocket, log, s, o.os.pid),
		lines:   lines{Logger: log, said: make(map[string]bool)},
		others:  generations{procs: o.os.processes, starter: o.starter, parent: o.starter, holders: o.os.holders},
		state: machine.New(machine.Setting{
			Generation: o.generation, Heir: o.os.inherits, Linked: o.starter != nil,
			Trusts: o.starter != nil && o.starter.peer.can(canServe), NoSwap: noSwap,
			CallsGone: s.cfg.Gone != nil, DrainTimeout: s.cfg.DrainTimeout, SameWish: sameWish,
		}, time.Now()),
	}
	r.ctx, r.cancel = work.WithCause(ErrStopped)
	r.hooks = &hooks{inbox: in, ctx: r.ctx, cfg: &s.cfg}
	r.estate = newEstate(in, &s.cfg, s.set, log)
	s.servers.gate, s.servers.service = r.estate.gate, s
	r.adopter = &adopter{
		inbox: in, ctx: r.ctx, set: s.set, servers: s.servers, work: s.work, take: s.cfg.Adopt, log: log,
	}
	r.waiting = waiting{inbox: in, cfg: &s.cfg, health: s.health}
	r.parts = r.listParts()
	s.run = r
}

// Fail says that the program can't start, and why, and returns err:
//
//	if err := db.Ping(); err != nil {
//		log.Fatal(svc.Fail(err))
//	}
//
// It is for what fails between New and Run. The service is over then, and the error is that of Run, if the program
// calls it. Where another generation has started this one, the first 1 KiB of err are in the error of the swap, which
// the generation before logs and answers. Without Fail that has the last lines of standard error, as far as it can know
// them. Once Run has been called, Fail stops the service, as the failure of a server does, and returns at once.
func (s *Service) Fail(err error) error {
	if err == nil {
		return nil
	}
	early := make(chan bool, 1)
	if s.run.post(failAsked{err, early}) && <-early {
		<-s.run.over
	}
	return err
}

// Run makes the service ready and blocks until it is over. It returns nil after a clean stop, and when another
// generation has taken over and nothing is left to do here; the program should exit then. The end of ctx stops the
// service as a signal would.
//
// Nil ends no errgroup.Group. Where the rest of a group is to end with the service, cancel its context:
//
//	ctx, stop := context.WithCancel(ctx)
//	g, ctx := errgroup.WithContext(ctx)
//	g.Go(func() error { defer stop(); return svc.Run(ctx) })
func (s *Service) Run(ctx context.Context) error {
	process.OwnStderr()
	asked, started := make(runAsked, 1), false
	heard := s.run.post(asked)
	if heard {
		started = <-asked
	}
	select {
	case <-s.run.ended:
	case <-ctx.Done():
		if started {
			s.run.post(machine.ContextOver{})
		}
		<-s.run.ended
	}
	if started {
		s.run.control.finish()
	}
	// A service that has failed before Run says its last words, too. Where Run was called before, that
	// call waits for them: this one may be a callback's, which is waited for.
	if started || !heard && !s.run.state.Running {
		<-s.run.over
	}
	if !started && s.run.state.Result == nil {
		return refused("drain: Run has been called before, or the service has stopped", ErrStopped)
	}
	return s.run.state.Result
}
