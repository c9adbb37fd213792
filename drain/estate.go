package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
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
	set     *listener.Set
	gate    *gate.Gate
	owners  owned.Owners // is not changed once Run has been called
	bound   time.Duration
	wayBack time.Duration // the timeout of regain; when it passes, the service stops
	log     *slog.Logger

	h2c sync.Once // of the warning

	// Held while the owners release, regain or save: a child may serve, and this one end, before they have released.
	busy sync.Mutex

	given    owned.States // the loop's: what the old generation has handed over
	released atomic.Bool  // the owners' state is released
	lost     atomic.Bool  // it is released, and could not be reacquired
}

// bequest is what the next generation gets.
type bequest struct {
	states owned.States
	// When the gate was shut, when no handler ran any more, and when all was released.
	paused, still, released time.Time
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

func newEstate(in inbox, cfg *Config, set *listener.Set, log *slog.Logger) *estate {
	return &estate{inbox: in, set: set, gate: gate.New(hijacked), bound: cfg.PauseMax,
		wayBack: max(cfg.PauseMax, cfg.DrainTimeout), log: log}
}

func hijacked(ctx context.Context) bool { return listener.Hijacked(ctx) || forward.Hijacked(ctx) }

func (e *estate) any() bool { return len(e.owners.Names()) > 0 }

// add is called by the loop.
func (e *estate) add(a ownerAdded, running bool) error {
	if running {
		return errors.New("too late: call Own before Run")
	}
	return e.owners.Add(a.name, a.owner)
}

// ticks is how many of them the owners may take to acquire.
func (e *estate) ticks() int { return int((e.bound + time.Second - 1) / time.Second) }

// warnOfH2C is called for a request that makes a handler speak HTTP/2 on the connection: what comes by that passes no
// gate.
func (e *estate) warnOfH2C() {
	if e.any() {
		e.h2c.Do(func() {
			e.log.Warn("HTTP/2 that a handler speaks, as h2c.NewHandler does, goes on while the owners release: let " +
				"http.Server.Protocols speak it")
		})
	}
}

// acquire makes everything this generation's, before its doors open. Waited: another generation has clients that wait.
func (e *estate) acquire(ctx context.Context, waited bool) error {
	defer e.given.Close()
	bound := e.bound
	if waited {
		var done context.CancelFunc
		ctx, done = e.within(ctx)
		defer done()
	} else {
		bound = forEver
	}
	if err := e.owners.Acquire(ctx, e.given, bound); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// hold lets no handler begin, and does not wait.
func (e *estate) hold() {
	ctx, done := context.WithCancel(context.Background())
	done()
	_ = e.gate.Shut(ctx)
}

// release stops the handlers and lets the owners release. Those of the names write what the next generation gets. An
// error says why that can't be, and leaves everything as it was.
func (e *estate) release(ctx context.Context, names []string) (b bequest, err error) {
	e.busy.Lock()
	defer e.busy.Unlock()
	calm, done := e.within(ctx)
	err = e.gate.Calm(calm, e.bound)
	done()
	if err != nil {
		return b, err
	}
	b.paused = time.Now()
	e.set.Park()
	if err = e.still(ctx); err == nil {
		b.still = time.Now()
		if names == nil {
			names = []string{} // nil would mean that no generation follows
		}
		release, done := e.within(ctx)
		b.states, err = e.owners.Release(release, names, e.bound)
		done()
		e.released.Store(true)
		b.released = time.Now()
	}
	if err != nil {
		err = errors.Join(err, e.regainLocked())
	}
	return b, err
}

// still returns when no handler runs any more, nor what Lead has begun.
func (e *estate) still(ctx context.Context) error {
	ctx, done := e.within(ctx)
	defer done()
	if err := e.gate.Shut(ctx); err != nil {
		return err
	}
	return e.pauseLeads(ctx)
}

// forEver is the bound where no client waits.
const forEver = 24 * time.Hour

func (e *estate) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.bound, fmt.Errorf("Config.PauseMax (%v) is over", e.bound))
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
		return fmt.Errorf("%w: what Lead runs has not ended", context.Cause(ctx))
	}
}

// regain lets the owners acquire again what no other generation has. After an error no generation has it, and the
// service stops.
func (e *estate) regain() error {
	e.busy.Lock()
	defer e.busy.Unlock()
	return e.regainLocked()
}

// regainLocked is regain where busy is held.
func (e *estate) regainLocked() error {
	defer e.set.Unpark()
	if e.lost.Load() {
		return nil // as was said
	}
	if e.released.Load() {
		if err := e.owners.Regain(context.Background(), e.wayBack); err != nil {
			e.lost.Store(true)
			err = fmt.Errorf("drain: the owners cannot reacquire the state that they released: %w", err)
			e.gate.PassOn(answerAll("the service starts again"))
			e.post(machine.ServerFailed{Err: err})
			return err
		}
		e.released.Store(false)
	}
	e.post(leadsResumed{})
	e.gate.Open()
	return nil
}

// answerAll answers where no generation can handle a request.
func answerAll(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, text, http.StatusServiceUnavailable)
	}
}

// letGo is called when the next generation serves: what this one may not handle any more goes there, by next. Where
// nothing was released, this one handles what it has.
func (e *estate) letGo(b bequest, next *forward.Proxy) {
	if !e.released.Load() {
		e.gate.Open()
		return
	}
	b.states.Close()
	next.Failed = func(err error) {
		e.log.Error("a request could not be forwarded to the next generation", "err", err)
	}
	e.gate.PassOn(next)
}

// save lets the owners save what no other generation has got. Each may take as long as within.
func (e *estate) save(within time.Duration) error {
	e.busy.Lock()
	defer e.busy.Unlock()
	if e.released.Load() && !e.lost.Load() {
		return nil
	}
	ctx, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	_ = e.gate.Shut(ctx) // of what was cut off, a handler may go on
	var lost error
	if e.lost.Load() {
		lost = e.owners.Regain(context.Background(), within)
	}
	_, err := e.owners.Release(context.Background(), nil, within)
	if err = errors.Join(lost, err); err != nil {
		err = fmt.Errorf("drain: the owners can't save: %w", err)
	}
	return err
}
