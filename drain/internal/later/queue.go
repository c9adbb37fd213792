// Package later runs code that may block, such as the program's own, where it holds nothing up.
package later

import (
	"context"
	"sync"
)

// Queue runs functions one after the other, in the order of Put, on a goroutine of its own, which
// lives only while there is something to run. A function that never returns stops those behind it
// and nothing else; runtime.Goexit in one stops nothing. A panic in one ends the process.
//
// The zero Queue runs nothing before Start.
type Queue struct {
	mu      sync.Mutex // guards what follows
	started bool
	running bool
	waiting []func()
}

// Start lets the functions run. A second call does nothing.
func (q *Queue) Start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.started = true
	q.wake()
}

// Put makes f run after all that were put before. It never blocks; the queue has no bound.
func (q *Queue) Put(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	q.wake()
}

func (q *Queue) wake() {
	if q.started && !q.running && len(q.waiting) > 0 {
		q.running = true
		go q.run()
	}
}

func (q *Queue) run() {
	over := false
	defer func() {
		if !over { // by runtime.Goexit
			go q.run()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running, q.waiting = false, nil
			q.mu.Unlock()
			over = true
			return
		}
		f := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		f()
	}
}

// Flush waits until all that was put before has run, and reports whether it has: the end of ctx ends the waiting.
func (q *Queue) Flush(ctx context.Context) bool {
	done := make(chan struct{})
	q.Put(func() { close(done) })
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
