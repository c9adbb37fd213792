package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain/internal/controlsock"
	"github.com/baton-go/baton/drain/internal/keeper"
	"github.com/baton-go/baton/drain/internal/later"
	"github.com/baton-go/baton/drain/internal/lifecycle"
	"github.com/baton-go/baton/drain/internal/pidfile"
	"github.com/baton-go/baton/drain/internal/probeport"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/drain/internal/tlsconf"
	"github.com/baton-go/baton/drain/internal/work"
	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// Service is the lifecycle of one process; there can be one. Its methods may be called from any goroutine.
//
// One goroutine, in loop, owns the state: everything else reaches it through calls.
type Service struct {
	cfg      Config
	os       system
	set      *listener.Set
	health   *health.State
	work     *work.Group
	farewell *work.Farewell
	keeper   *os.File // closed when the keeper is gone; nil: there is none

	tickets *tlsconf.TicketKeys
	served  served
	losses  atomic.Int64 // that were logged

	listens sync.RWMutex // held while a socket is opened; guards late
	late    bool         // too late for that: the sockets are those that the generation after this one gets

	calls    chan func()
	signals  chan os.Signal
	arrivals chan arrival    // of signals, for the loop
	ended    chan struct{}   // closed when the loop is over
	over     chan struct{}   // closed when, besides, what it had to say is said
	lines    *later.Handler  // behind cfg.Logger
	events   later.Queue     // of calls of Config.OnEvent
	ctx      context.Context // ends then
	cancel   context.CancelFunc

	// Owned by the loop.
	phase        Phase
	since        time.Time
	generation   int
	running      bool // Run has been called
	stopping     bool
	leaveNow     bool // the next stop signal ends everything
	servers      []server
	side         lifecycle.New // how far this generation has come in taking over; not of the first
	parent       *elder        // nil: this process was not started by another generation, or has outlived it
	giver        *elder        // the parent, also when it is one of the older generations
	word         *message      // promoted, once it has come
	older        []*elder      // the oldest first
	exiting      []int         // pids of older ones whose links have ended
	coming       int           // older ones whose links are on their way here
	leads        []*lead
	holders      []holder     // older generations without a link that may run functions of Lead
	holderPoll   *time.Timer  // looks for them; nil until there are some
	bequeathed   bool         // the next generation has been told what is run here
	past         Totals       // without what this generation counts, and older ones since their elder.base
	reports      *reporter    // nil until another generation is the main one
	lastReport   Peer         // set by finish
	placePID     func() error // puts the prepared PID file in its place
	swap         *swap        // under way, or the one that succeeded
	control      *control     // nil: off, or not open yet
	ports        *probeport.Ports
	swaps        int
	lastSwap     *SwapResult
	hooks        hooks
	left         <-chan struct{} // closed when Config.Leave has returned
	endProbation context.CancelFunc
	join         bool               // nobody knows that the service is in the registry
	later        pending            // what came before the service was ready
	pulled       context.Context    // ends with the present pull
	pullOver     context.CancelFunc // ends it; nil while not pulled
	pullAt       time.Time          // of the last signal to pull
	pullBy       int                // generation to which the last pull came; 0: unknown, or the pull is over
	stopAt       time.Time          // of the last signal to stop that was heeded
	deadline     *time.Timer        // of draining
	deadlineAt   time.Time
	hurried      bool     // a newer generation has shortened it
	cutting      func()   // says what was cut off, once the background work has had a moment; nil: nothing is
	settled      bool     // nothing is left here, but of older generations
	manager      *manager // nil: there is none
	result       error    // of Run
}

// New prepares the service: it installs the signal handlers, finds out whether another generation
// has started this process, and takes over its sockets. Nothing is served before Run. An error
// names the field of cfg that can't be used.
func New(cfg Config) (*Service, error) {
	s := &Service{
		phase: Starting, since: time.Now(), generation: 1,
		work: work.NewGroup(ErrDraining), farewell: work.NewFarewell(ErrDraining),
		calls: make(chan func()), signals: make(chan os.Signal, 16), arrivals: make(chan arrival),
		ended: make(chan struct{}),
		over:  make(chan struct{}),
	}
	process.OutliveBrokenPipes()
	err := s.configure(cfg)
	if err != nil && !inherits() {
		return nil, err // nothing is taken yet, so that New may be called again
	}
	if err == nil && keeper.Wanted(s.cfg.Keeper) {
		return nil, s.stay()
	}
	var watching sync.WaitGroup
	if err == nil {
		watching.Go(s.watch) // takes as long as a tenth of a swap
	}
	heard := s.heedEarly()
	if sysErr := s.inherit(); err == nil {
		err = sysErr
	}
	heard()
	watching.Wait()
	if err != nil {
		signal.Stop(s.signals)
		close(s.ended)
		s.parent.tell(message{Kind: kindFailed, Reason: reason(err)})
		return nil, err
	}
	s.set = listener.New(s.os.fds, s.lost)
	s.set.OnStarved(s.starved)
	if s.os.inherits {
		s.set.Inherit(s.os.sockets)
	}
	s.set.Warn(func(err error) {
		s.cfg.Logger.Warn("HTTP/2", "err", err)
	})
	if s.tickets, err = tlsconf.NewTicketKeys(s.os.tickets); err != nil {
		s.cfg.Logger.Warn("clients can't resume their TLS sessions", "err", err)
	}
	s.manageSockets()
	s.ctx, s.cancel = work.WithCause(ErrStopped)
	s.manager = s.newManager()
	s.tell(slog.LevelInfo, "starting", nil)
	if s.parent != nil {
		go s.hear(s.parent)
	}
	go s.heedKeeper()
	go s.loop()
	return s, nil
}

// configure checks what can be checked without touching anything.
func (s *Service) configure(cfg Config) (err error) {
	if s.cfg, err = cfg.complete(); err != nil {
		return err
	}
	s.logTo(s.cfg.Logger)
	s.health, err = health.New(health.Config{
		Status: s.cfg.PingStatus, Failures: s.cfg.Failures, PullMin: s.cfg.PullMin, PullMax: s.cfg.PullMax,
		Probers: s.cfg.Probers,
	})
	if err != nil {
		return fmt.Errorf("drain: Config: %w", err)
	}
	s.ports = probeport.New(s.cfg.HeartbeatAddress, s.cfg.AgentAddress, s.health)
	if s.cfg.ControlSocket, err = controlsock.Clean(s.cfg.ControlSocket); err != nil {
		return err
	}
	if inherits() {
		return nil // what lies in the file system is the old generation's: see inherit
	}
	if err = controlsock.Check(s.cfg.ControlSocket); err != nil {
		return err
	}
	return pidfile.Path(s.cfg.PIDFile).Check(os.Getpid())
}

// inherit takes over from the generation that has started this process.
func (s *Service) inherit() (err error) {
	if s.os, err = newSystem(); err != nil {
		return err
	}
	if s.keeper, err = s.os.keeper(); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	s.parent, s.generation, err = s.os.predecessor()
	if s.parent != nil {
		s.giver, s.side.Trusts = s.parent, s.parent.peer.can(canServe)
		err = cmp.Or(err, s.parent.peer.fits())
		s.parent.send(message{Kind: kindAble, PID: s.os.pid, Protocol: &spoken})
	}
	if s.os.inherits {
		ours := []int{s.os.pid, os.Getppid()}
		if s.parent != nil {
			ours = append(ours, s.parent.PID) // not the parent process, where a script is between the two
		}
		err = cmp.Or(err, pidfile.Path(s.cfg.PIDFile).Check(ours...))
	}
	s.holders = s.os.holders
	s.cfg.Logger = s.cfg.Logger.With("generation", s.generation)
	return err
}

func (s *Service) starved(listener string, err error) {
	s.cfg.Logger.Error("clients wait in the queue, this process can't accept: raise its limit of open "+
		"files (LimitNOFILE=, ulimit -n)",
		"listener", listener, "err", err, "pid", s.os.pid)
}

func (s *Service) loop() {
	for s.phase != Stopped {
		select {
		case f := <-s.calls:
			f()
		case a := <-s.arrivals:
			s.handle(a)
		}
	}
	s.manager.close()
	close(s.ended) // not deferred: a panic must crash the program, not make Run return nil
	s.sayLast()
	signal.Stop(s.signals) // not before: the next one would kill the process, which has ended well
	close(s.over)
}

// call runs f in the loop and reports whether it did: not after the end. The loop itself must not use it.
func (s *Service) call(f func()) bool {
	done := make(chan struct{})
	select {
	case s.calls <- func() { defer close(done); f() }:
		<-done
		return true
	case <-s.ended:
		return false
	}
}

// Run makes the service ready and blocks until it is over. It returns nil after a clean stop, and when another
// generation has taken over and nothing is left to do here; the program should exit then. The end of ctx stops the
// service as a signal would.
func (s *Service) Run(ctx context.Context) error {
	started := false
	heard := s.call(func() {
		started = !s.running
		if started {
			s.running = true
			s.start()
		}
	})
	select {
	case <-s.ended:
	case <-ctx.Done():
		if started {
			s.call(func() { s.stopNow(nil) })
		}
		<-s.ended
	}
	if started {
		s.control.finish()
	}
	// A service that has failed before Run says its last words, too. Where Run was called before, that
	// call waits for them: this one may be a callback's, which is waited for.
	if started || !heard && !s.running {
		<-s.over
	}
	if !started && s.result == nil {
		return refused("drain: Run has been called before, or the service is over", ErrStopped)
	}
	return s.result
}

func (s *Service) start() {
	s.observe()
	go func() {
		var err error
		if s.cfg.Ready != nil {
			if err = await(s.ctx, orCrash, func() error { return s.cfg.Ready(s.ctx) }); err != nil {
				err = fmt.Errorf("drain: Config.Ready: %w", err)
			}
		}
		s.listens.Lock()
		s.late = true
		s.listens.Unlock()
		s.call(func() {
			switch {
			case s.phase != Starting:
			case err != nil:
				s.fail(err)
			case s.os.inherits:
				s.probation()
			default:
				s.becomeReady()
			}
		})
	}()
}

// becomeReady is for the first generation. See takeOver for the others.
func (s *Service) becomeReady() {
	if err := s.firstReady(); err != nil {
		s.fail(err)
		return
	}
	s.keepSockets()
	s.openDoors("ready")
	s.settleIn()
}

// openDoors begins to serve, and says so to an old generation that waits for it. What is served
// besides waits in the kernel's queues for as long as that takes.
func (s *Service) openDoors(why string) {
	if s.later.pull {
		s.health.Pull() // before the first probe
	}
	s.set.Open()
	s.placePIDFile()
	if s.side.Trusts {
		s.giver.send(message{Kind: kindServing, Unused: s.set.Unclaimed()})
	}
	s.work.Begin()
	s.enter(Ready, why)
	s.beginLeads()
	s.control.serve()
	s.servePorts()
}

// settleIn does what came before this generation was ready.
func (s *Service) settleIn() {
	if s.later.pull {
		s.pullNow()
	} else if s.join || !s.os.inherits {
		s.joinHook()
	}
	switch {
	case s.later.stop:
		s.stopNow(nil)
	case s.later.swap:
		s.beginSwap(nil, s.later.next())
	}
}

// firstReady does what can fail before the first generation opens the doors.
func (s *Service) firstReady() error {
	if err := errors.Join(s.openControl(), s.openPorts()); err != nil {
		return err
	}
	place, err := pidfile.Path(s.cfg.PIDFile).Prepare(s.os.pid)
	if err == nil {
		err = place()
	}
	if err == nil {
		s.beginTickets(nil)
	}
	if err != nil {
		return err
	}
	if err := s.os.ready(); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// openPorts does what can fail before this generation becomes the main one.
func (s *Service) openPorts() error {
	return s.ports.Open(s.os.ports, s.os.pulled && s.cfg.KeepPull)
}

func (s *Service) servePorts() {
	s.ports.Serve(s.ctx, func(err error) {
		s.call(func() { s.tell(slog.LevelError, "heartbeat failed", err) })
	})
}
