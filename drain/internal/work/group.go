// Package work runs what a generation waits for before it leaves, and tells long-lived work when to end.
package work

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Group is the work that is waited for.
type Group struct {
	draining context.Context // ends when draining starts
	drain    context.CancelFunc
	fed      context.Context // ends when nothing hands in work any more
	starve   context.CancelFunc
	idle     chan struct{} // closed when nothing runs, and nothing is to run

	mu      sync.Mutex // guards what follows
	begun   bool
	ending  bool // the last one to return ends it
	ended   bool
	waiting []Task // until Begin
	running map[int]Task
	last    int
}

// Task is one function of the program's.
type Task struct {
	Name  string
	Lead  bool // see Leads
	Feeds bool // it may hand in work
	F     func()
	Over  func() // called when F has returned and Names leaves it out; nil: nothing
}

// NewGroup returns one in which nothing runs before Begin. The contexts of Draining and Fed end with cause.
func NewGroup(cause error) *Group {
	b := &Group{running: make(map[int]Task), idle: make(chan struct{})}
	b.draining, b.drain = WithCause(cause)
	b.fed, b.starve = WithCause(cause)
	return b
}

// Add tells whether t runs, or will when the work begins.
func (b *Group) Add(t Task) bool {
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
func (b *Group) run(t Task) {
	b.last++
	id := b.last
	b.running[id] = t
	go func() {
		defer func() {
			b.mu.Lock()
			delete(b.running, id)
			b.endIfOver()
			b.mu.Unlock()
			if t.Over != nil {
				t.Over()
			}
		}()
		t.F()
	}()
}

// Begin runs what was added, and from here on what is added.
func (b *Group) Begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	for _, t := range b.waiting {
		b.run(t)
	}
	b.waiting = nil
}

// Drain tells that draining begins.
func (b *Group) Drain() { b.drain() }

// Draining ends when draining begins.
func (b *Group) Draining() context.Context { return b.draining }

// Fed ends when nothing hands in work any more.
func (b *Group) Fed() context.Context { return b.fed }

// Finish is told that nothing but tasks hands in work any more. The channel is closed when the last function has
// returned.
func (b *Group) Finish() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = true
	b.endIfOver()
	return b.idle
}

// endIfOver is called with mu held.
func (b *Group) endIfOver() {
	if !b.ending {
		return
	}
	feeds := false
	for _, t := range b.running {
		feeds = feeds || t.Feeds
	}
	if !feeds {
		b.starve()
	}
	if len(b.running) > 0 {
		return
	}
	b.ended = true
	select {
	case <-b.idle:
	default:
		close(b.idle)
	}
}

// End lets nothing begin any more, and ends the contexts.
func (b *Group) End() {
	b.drain()
	b.Finish()
	b.starve()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.waiting = true, nil
}

// Wait waits until the last function has returned, and no longer than that.
func (b *Group) Wait(within time.Duration) {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-b.idle:
	case <-late.C:
	}
}

// Names are those of what runs.
func (b *Group) Names() []string { return b.list(func(Task) bool { return true }) }

// Leads are those of what Lead runs.
func (b *Group) Leads() []string { return b.list(func(t Task) bool { return t.Lead }) }

func (b *Group) list(of func(Task) bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.running))
	for _, t := range b.running {
		if of(t) {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}

// WithCause is context.WithCancel for a context that always ends with that cause.
func WithCause(cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	return ctx, func() { cancel(cause) }
}
