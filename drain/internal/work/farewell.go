package work

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Farewell ends the contexts of those that wait for the end of a service, spread over a time.
type Farewell struct {
	cause   error
	mu      sync.Mutex // guards what follows
	begun   time.Time
	until   time.Time // when the last context ends
	waiting map[*waiter]struct{}
}

// waiter is a context that ends with the service.
type waiter struct {
	at    time.Time // when it ends; zero until the end has begun
	leave func()
	timer *time.Timer
}

// NewFarewell returns one in which no context ends before Begin. The contexts end with cause.
func NewFarewell(cause error) *Farewell { return &Farewell{cause: cause} }

// Context returns a context that ends with parent, or at a random time after Begin, just after a call of first.
func (f *Farewell) Context(parent context.Context, first func()) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	w := &waiter{leave: func() { first(); cancel(f.cause) }}
	if f.over(w) {
		w.leave()
	} else {
		context.AfterFunc(ctx, func() { f.forget(w) })
	}
	return ctx
}

// over tells whether the time of w, which is new, is over.
func (f *Farewell) over(w *waiter) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun.IsZero() {
		w.at = f.draw()
		if !time.Now().Before(w.at) {
			return true
		}
		w.set()
	}
	if f.waiting == nil {
		f.waiting = make(map[*waiter]struct{})
	}
	f.waiting[w] = struct{}{}
	return false
}

func (f *Farewell) draw() time.Time {
	return f.begun.Add(time.Duration(rand.Float64() * float64(f.until.Sub(f.begun))))
}

func (w *waiter) set() {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(time.Until(w.at), w.leave)
}

func (f *Farewell) forget(w *waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, w)
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Begin ends all contexts, those to come as well, within that time from now, and within a share of it for each that
// waits now where that is less. Share 0 is no bound. Called again, it can only shorten the time.
func (f *Farewell) Begin(within, share time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if share > 0 {
		within = min(within, time.Duration(len(f.waiting))*share)
	}
	now := time.Now()
	left := f.until.Sub(now)
	switch {
	case f.begun.IsZero():
		f.begun = now
	case left <= within:
		return
	}
	f.until = now.Add(within)
	for w := range f.waiting {
		if w.at.IsZero() {
			w.at = f.draw()
		} else {
			w.at = now.Add(time.Duration(float64(w.at.Sub(now)) * float64(within) / float64(left)))
		}
		w.set()
	}
}
