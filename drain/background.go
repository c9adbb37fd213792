package drain

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// background is the work that is waited for: what Go runs, and what Lead does.
type background struct {
	draining context.Context // ends when draining starts
	drain    context.CancelFunc
	fed      context.Context // ends when nothing hands in work any more
	starve   context.CancelFunc
	idle     chan struct{} // closed when nothing runs, and nothing is to run

	mu      sync.Mutex // guards what follows
	begun   bool
	ending  bool // the last one to return ends it
	ended   bool
	waiting []task // until begun
	running map[int]task
	last    int
}

// task is one function of the program's.
type task struct {
	name string
	lead bool
	f    func()
	over func() // called when f has returned and nobody is told any more that it runs; nil: nothing
}

func newBackground() *background {
	b := &background{running: make(map[int]task), idle: make(chan struct{})}
	b.draining, b.drain = withCause(ErrDraining)
	b.fed, b.starve = withCause(ErrDraining)
	return b
}

// Go runs f in a goroutine that a swap and a stop wait for, at most Config.DrainTimeout. Before the service is ready, f
// waits for that; a service that ends before never runs it. Name tells it apart in Status and in the report of what was
// cut off.
//
// Handlers hand in work, so f goes on while they do: ctx ends when this generation drains and its
// last connection is closed or handed over. What was handed in by then is f's to finish. Handlers
// may call Go while their generation drains, and so may functions that Go runs. When all of it is
// over, Go returns an error, and f does not run.
//
// A handler or a hijacked connection must not wait for the end of ctx, which waits for its end:
// Draining and DrainStarted tell when draining begins. At Config.DrainTimeout the connections that
// are left are closed and ctx ends; what returns within another second is not cut off.
//
// The new generation runs its functions while the old one's finish. Lead is for what must not run twice.
func (s *Service) Go(name string, f func(ctx context.Context)) error {
	if !s.work.add(task{name: name, f: func() { f(s.work.fed) }}) {
		return akin(fmt.Errorf("drain: Go %q: the service is over: no work begins any more", name), ErrStopped,
			ErrDraining)
	}
	return nil
}

// add tells whether t runs, or will when the work begins.
func (b *background) add(t task) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return false
	case b.begun:
		b.run(t)
	default:
		b.waiting = append(b.waiting, t)
	}
	return true
}

// run is called with mu held.
func (b *background) run(t task) {
	b.last++
	id := b.last
	b.running[id] = t
	go func() {
		defer func() {
			b.mu.Lock()
			delete(b.running, id)
			b.endIfIdle()
			b.mu.Unlock()
			if t.over != nil {
				t.over()
			}
		}()
		t.f()
	}()
}

func (b *background) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	for _, t := range b.waiting {
		b.run(t)
	}
	b.waiting = nil
}

// finish is told that no connection is left. The channel is closed when the last function has returned.
func (b *background) finish() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = true
	b.starve()
	b.endIfIdle()
	return b.idle
}

// endIfIdle is called with mu held.
func (b *background) endIfIdle() {
	if b.ending && len(b.running) == 0 && !isClosed(b.idle) {
		b.ended = true
		close(b.idle)
	}
}

// end lets nothing begin any more, and everybody know.
func (b *background) end() {
	b.drain()
	b.finish()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.waiting = true, nil
}

// wait waits until the last function has returned, and no longer than that.
func (b *background) wait(within time.Duration) {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-b.idle:
	case <-late.C:
	}
}

// names are those of what runs.
func (b *background) names() []string { return b.list(func(task) bool { return true }) }

// leads are those of what Lead runs.
func (b *background) leads() []string { return b.list(func(t task) bool { return t.lead }) }

func (b *background) list(of func(task) bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.running))
	for _, t := range b.running {
		if of(t) {
			names = append(names, t.name)
		}
	}
	slices.Sort(names)
	return names
}
