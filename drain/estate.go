package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/gate"
	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/drain/internal/owned"
	"github.com/baton-go/baton/listener"
)

// estate is what the owners of this generation have, and the gate before the handlers that use it.
type estate struct {
	inbox
	gate   *gate.Gate
	owners owned.Owners // is not changed once Run has been called
	bound  time.Duration
	log    *slog.Logger

	given    owned.States // the loop's: what the old generation has handed over
	released atomic.Bool  // the owners have nothing here any more
}

// Events of owners.
type (
	ownerAdded struct {
		name  string
		owner Owner
		reply chan error
	}
	// leadsPaused asks for what Lead runs to end. The channel is closed when it has.
	leadsPaused struct{ over chan struct{} }
	// leadsResumed lets it begin again.
	leadsResumed struct{}
	// ownersSaved: those of a generation that ends have, or had their time.
	ownersSaved struct {
		hook bool // Config.Gone is next
		err  error
	}
)

func newEstate(in inbox, bound time.Duration, log *slog.Logger) *estate {
	return &estate{inbox: in, gate: gate.New(listener.Hijacked), bound: bound, log: log}
}

func (e *estate) any() bool { return len(e.owners.Names()) > 0 }

// add is called by the loop.
func (e *estate) add(a ownerAdded, running bool) error {
	if running {
		return errors.New("too late: call Own before Run")
	}
	return e.owners.Add(a.name, a.owner)
}

// extra is how many ticks the next generation may take to acquire.
func (e *estate) extra() int { return int((e.bound + time.Second - 1) / time.Second) }

// acquire makes everything this generation's, before its doors open.
func (r *runner) acquire() {
	e := r.estate
	if !e.any() {
		r.enqueue(machine.Acquired{})
		return
	}
	switch {
	case r.others.starter == nil:
	case r.word == nil:
		e.log.Warn("the old generation has died before it could release: the owners begin with what was saved")
	case !r.others.starter.peer.can(canOwn):
		e.log.Info("the old generation knows no owners: those of this one begin with what was saved")
	}
	given := e.given
	go func() {
		err := e.owners.Acquire(r.ctx, given, e.bound)
		given.Close()
		if err != nil {
			err = fmt.Errorf("drain: %w", err)
		}
		r.post(machine.Acquired{Err: err})
	}()
}

// release stops the handlers and lets the owners release to the child. An error says why that can't be, and leaves
// everything as it was.
func (e *estate) release(sw *swap) error {
	if !e.any() {
		return nil
	}
	if !sw.peer.can(canOwn) {
		e.log.Warn("the next generation knows no owners: it begins with what was saved, while this one goes on",
			"owners", e.owners.Names())
		return nil
	}
	ctx, done := context.WithCancel(sw.ctx)
	defer done()
	var names []string
	select {
	case names = <-sw.owns:
	case <-sw.gone:
		return errors.New("it is gone")
	case <-ctx.Done():
		return ctx.Err()
	}
	go func() {
		select {
		case <-sw.gone: // for nobody
			done()
		case <-ctx.Done():
		}
	}()
	if err := e.within(ctx, func(ctx context.Context) error { return e.gate.Calm(ctx, e.bound) }); err != nil {
		return fmt.Errorf("Config.PauseMax (%v): %w", e.bound, err)
	}
	sw.paused = time.Now()
	err := e.within(ctx, e.gate.Shut)
	if err != nil {
		err = fmt.Errorf("Config.PauseMax (%v): %w", e.bound, err)
	} else {
		err = e.within(ctx, e.pauseLeads)
	}
	sw.still = time.Now()
	if err == nil {
		sw.states, err = e.owners.Release(ctx, names, e.bound)
		e.released.Store(true)
	}
	if err != nil {
		return errors.Join(err, e.regain())
	}
	return nil
}

func (e *estate) within(ctx context.Context, f func(context.Context) error) error {
	ctx, done := context.WithTimeout(ctx, e.bound)
	defer done()
	return f(ctx)
}

func (e *estate) pauseLeads(ctx context.Context) error {
	paused := leadsPaused{make(chan struct{})}
	if !e.post(paused) {
		return ErrStopped
	}
	select {
	case <-paused.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("what Lead runs has not ended within Config.PauseMax (%v)", e.bound)
	}
}

// regain makes everything this generation's again: no other has it. After an error nobody has, and the service ends.
func (e *estate) regain() error {
	if e.released.Load() {
		if err := e.owners.Regain(context.Background(), e.bound); err != nil {
			e.gate.PassOn(http.HandlerFunc(lostState))
			e.post(machine.ServerFailed{Err: fmt.Errorf("drain: what the owners have released can't be acquired again: %w", err)})
			return err
		}
		e.released.Store(false)
	}
	e.post(leadsResumed{})
	e.gate.Open()
	return nil
}

// lostState answers where no generation has what the handlers need.
func lostState(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the service starts again", http.StatusServiceUnavailable)
}

// letGo is called when the child serves: what this generation may not handle any more goes there.
func (e *estate) letGo(sw *swap, s *servers) {
	if !e.released.Load() {
		return
	}
	sw.states.Close()
	dial := func(ctx context.Context, about forward.About) (net.Conn, error) {
		about.Listener = s.nameOf(ctx)
		return sw.carry(about)
	}
	e.gate.PassOn(forward.Proxy(dial, func(err error) {
		e.log.Error("a request could not be forwarded to the next generation", "err", err)
	}))
}

// save lets the owners of a generation that ends save what no other one has got.
func (r *runner) save(hook bool) {
	e := r.estate
	go func() {
		var err error
		if !e.released.Load() {
			ctx, done := context.WithTimeout(context.Background(), lastWords)
			_ = e.gate.Shut(ctx) // of what was cut off, a handler may go on
			done()
			_, err = e.owners.Release(context.Background(), nil, r.cfg.DrainTimeout)
			e.released.Store(true)
		}
		r.post(ownersSaved{hook, err})
	}()
}
