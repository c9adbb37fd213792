// Package gate stands before the handlers of a generation's servers, and can let none begin.
package gate

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is how often Shut and Calm look for what nothing tells the gate: connections that were hijacked, and
// handlers that have grown too old.
const pollEvery = 5 * time.Millisecond

// Gate is open until Shut. Its methods may be called at the same time.
type Gate struct {
	hijacked func(context.Context) bool
	used     atomic.Bool
	idle     chan struct{} // has room for one: the gate is shut, and the last of running has ended

	mu      sync.Mutex          // guards what follows, and fields of the visits
	opened  chan struct{}       // closed when the gate opens; nil while it is open
	next    http.Handler        // of PassOn
	running map[*visit]struct{} // those that Shut waits for
	endless int                 // those that run too, and that Shut does not wait for
	held    int                 // requests that wait at the gate
}

// New returns a gate that is open. The function tells whether the handler of the request with that context has
// hijacked its connection: the gate waits for no such handler. It may be nil, and must not block.
func New(hijacked func(ctx context.Context) bool) *Gate {
	if hijacked == nil {
		hijacked = func(context.Context) bool { return false }
	}
	return &Gate{hijacked: hijacked, idle: make(chan struct{}, 1), running: make(map[*visit]struct{})}
}

// Use makes the gate count requests from now on. Before, Serve just calls the handler, and Shut knows nothing of it.
// So Use comes before the servers serve.
func (g *Gate) Use() { g.used.Store(true) }

// Serve calls h with w and r themselves. While the gate is shut, it waits first. It gives r a context that Endless
// knows.
//
// A request within a handler that the gate waits for, as where a handler calls a handler, begins at once. Otherwise
// the two would wait for each other.
//
// If the client goes away while its request waits, h is called all the same, with a context that has ended. A client
// that has closed its sending side alone looks like that, and wants its answer.
func (g *Gate) Serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if !g.used.Load() {
		h.ServeHTTP(w, r)
		return
	}
	v, next := g.enter(r)
	switch {
	case next != nil:
		next.ServeHTTP(w, r)
	default:
		defer g.leave(v)
		h.ServeHTTP(w, r)
	}
}

// enter waits for the gate. It returns the visit of r, or the handler of PassOn.
func (g *Gate) enter(r *http.Request) (*visit, http.Handler) {
	v := visitOf(r.Context())
	for v != nil && v.gate != g {
		v = visitOf(v.ctx)
	}
	within := v != nil && !v.isHijacked()
	g.mu.Lock()
	defer g.mu.Unlock()
	if within && v.handlers > 0 && !v.endless {
		v.handlers++
		return v, nil
	}
	for g.opened != nil && g.next == nil {
		g.hold()
	}
	if g.next != nil {
		return nil, g.next
	}
	v = &visit{gate: g, ctx: r.Context(), method: r.Method, target: r.RequestURI, begun: time.Now(), handlers: 1}
	g.running[v] = struct{}{}
	// Not a copy: net/http puts trailers into its own request, and removes the files of that one's MultipartForm.
	*r = *r.WithContext(context.WithValue(v.ctx, visitKey{}, v))
	return v, nil
}

// hold waits until the gate opens. It gives mu up meanwhile.
func (g *Gate) hold() {
	opened := g.opened
	g.held++
	g.mu.Unlock()
	<-opened
	g.mu.Lock()
	g.held--
}

func (g *Gate) leave(v *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.handlers--; v.handlers > 0 {
		return
	}
	if v.endless {
		g.endless--
	}
	g.forget(v)
}

// forget is called with mu held.
func (g *Gate) forget(v *visit) {
	delete(g.running, v)
	if len(g.running) == 0 && g.opened != nil {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// Shut lets no handler begin, and returns when none runs that the gate waits for. If ctx ends before, the gate stays
// shut, and the error has the cause of ctx and the requests that still run. Shut and Calm are called one at a time.
//
// The gate waits until the calls of handlers return. It waits for no goroutine that goes on after that. It does not see
// what a handler serves on a connection that it has hijacked, as h2c.NewHandler does. A handler that waits for the
// answer to another request of the same service can't end, since that request waits at the gate.
func (g *Gate) Shut(ctx context.Context) error {
	g.mu.Lock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	g.mu.Unlock()
	return g.await(ctx, -1)
}

// Calm returns when no handler that the gate waits for has run for longer than longest. It leaves the gate open: a
// pause that would fail need not begin. Its error is like that of Shut.
func (g *Gate) Calm(ctx context.Context, longest time.Duration) error { return g.await(ctx, longest) }

func (g *Gate) await(ctx context.Context, longest time.Duration) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		g.mu.Lock()
		late := slices.Collect(maps.Keys(g.running))
		g.mu.Unlock()
		late = slices.DeleteFunc(late, func(v *visit) bool { return v.isHijacked() || time.Since(v.begun) <= longest })
		if len(late) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return stillRun(context.Cause(ctx), late)
		}
		select {
		case <-g.idle:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// Open lets handlers begin again. Requests that wait begin too, unless the gate is shut again before they could.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// PassOn has next serve the requests that wait, and all that come from now on: for good, whatever Open and Shut do.
// The gate does not count them. PassOn is called after Shut: a handler that still runs goes on.
func (g *Gate) PassOn(next http.Handler) {
	g.mu.Lock()
	g.next = next
	g.mu.Unlock()
	g.Open()
}

// Running counts the requests whose handlers the gate waits for, those whose handlers run without that, and those
// that wait at the gate.
func (g *Gate) Running() (awaited, endless, held int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running), g.endless, g.held
}
