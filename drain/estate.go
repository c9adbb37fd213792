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

// bequest is what the next generation gets.
type bequest struct {
	states        owned.States
	paused, still time.Time // when the gate was shut, and when no handler ran any more
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

// ticks is how many of them an owner may take to acquire.
func (e *estate) ticks() int { return int((e.bound + time.Second - 1) / time.Second) }

// acquire makes everything this generation's, before its doors open.
func (e *estate) acquire(ctx context.Context) error {
	defer e.given.Close()
	if err := e.owners.Acquire(ctx, e.given, e.bound); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// release stops the handlers and lets the owners release. Those of the names write what the next generation gets. An
// error says why that can't be, and leaves everything as it was.
func (e *estate) release(ctx context.Context, names []string) (b bequest, err error) {
	if err = e.within(ctx, func(ctx context.Context) error { return e.gate.Calm(ctx, e.bound) }); err != nil {
		return b, err
	}
	b.paused = time.Now()
	if err = e.within(ctx, e.gate.Shut); err == nil {
		err = e.within(ctx, e.pauseLeads)
	}
	b.still = time.Now()
	if err == nil {
		if names == nil {
			names = []string{} // nil: nobody follows
		}
		b.states, err = e.owners.Release(ctx, names, e.bound)
		e.released.Store(true)
	}
	if err != nil {
		err = errors.Join(err, e.regain())
	}
	return b, err
}

func (e *estate) within(ctx context.Context, f func(context.Context) error) error {
	ctx, done := context.WithTimeoutCause(ctx, e.bound, fmt.Errorf("Config.PauseMax (%v) is over", e.bound))
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
		return fmt.Errorf("%w: what Lead runs has not ended", context.Cause(ctx))
	}
}

// regain makes everything this generation's again: no other has it. After an error nobody has, and the service ends.
func (e *estate) regain() error {
	if e.released.Load() {
		if err := e.owners.Regain(context.Background(), e.bound); err != nil {
			err = fmt.Errorf("drain: what the owners have released can't be acquired again: %w", err)
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

// letGo is called when the next generation serves: what this one may not handle any more goes there, by dial.
func (e *estate) letGo(b bequest, dial func(context.Context, forward.About) (net.Conn, error)) {
	if !e.released.Load() {
		return
	}
	b.states.Close()
	e.gate.PassOn(forward.Proxy(dial, func(err error) {
		e.log.Error("a request could not be forwarded to the next generation", "err", err)
	}))
}

// save lets the owners save what no other generation has got. Each may take as long as within.
func (e *estate) save(within time.Duration) (err error) {
	if !e.released.Swap(true) {
		ctx, done := context.WithTimeout(context.Background(), lastWords)
		defer done()
		_ = e.gate.Shut(ctx) // of what was cut off, a handler may go on
		if _, err = e.owners.Release(context.Background(), nil, within); err != nil {
			err = fmt.Errorf("drain: %w", err)
		}
	}
	return err
}
