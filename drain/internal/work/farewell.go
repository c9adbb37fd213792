package work

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Farewell tells those who wait for the end of a service, each in its turn.
type Farewell struct {
	cause   error
	mu      sync.Mutex // guards what follows
	begun   time.Time
	until   time.Time // when the last is told
	waiting map[*turn]struct{}
}

// turn is one who waits for the end.
type turn struct {
	at    time.Time // when it is told; zero until the end has begun
	leave context.CancelCauseFunc
	timer *time.Timer
}

// NewFarewell returns one in which nobody is told before Begin. The contexts end with cause.
func NewFarewell(cause error) *Farewell { return &Farewell{cause: cause} }

// Context ends with parent, or when it is its turn.
func (f *Farewell) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	t := &turn{leave: cancel}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun.IsZero() {
		t.at = f.draw()
		if !time.Now().Before(t.at) {
			cancel(f.cause)
			return ctx
		}
		t.set(f.cause)
	}
	if f.waiting == nil {
		f.waiting = make(map[*turn]struct{})
	}
	f.waiting[t] = struct{}{}
	context.AfterFunc(ctx, func() { f.forget(t) })
	return ctx
}

func (f *Farewell) draw() time.Time {
	return f.begun.Add(time.Duration(rand.Float64() * float64(f.until.Sub(f.begun))))
}

func (t *turn) set(cause error) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(time.Until(t.at), func() { t.leave(cause) })
}

func (f *Farewell) forget(t *turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, t)
	if t.timer != nil {
		t.timer.Stop()
	}
}

// Begin tells all who wait, and who will come, within that time from now. Called again, it hurries them.
func (f *Farewell) Begin(within time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	left := f.until.Sub(now)
	switch {
	case f.begun.IsZero():
		f.begun = now
	case left <= within:
		return
	}
	f.until = now.Add(within)
	for t := range f.waiting {
		if t.at.IsZero() {
			t.at = f.draw()
		} else {
			t.at = now.Add(time.Duration(float64(t.at.Sub(now)) * float64(within) / float64(left)))
		}
		t.set(f.cause)
	}
}
