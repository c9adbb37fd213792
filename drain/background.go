package drain

import (
	"context"
	"slices"
	"sync"
)

// background is the work that is waited for.
type background struct {
	wg     sync.WaitGroup
	ctx    context.Context // ends when draining starts
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	begun   bool
	ended   bool
	waiting []func() // until begun
	running map[int]string
	last    int
}

func newBackground() *background {
	b := &background{running: make(map[int]string)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Go runs f, once the service is ready, in a goroutine that a stop or swap waits for, at most Config.DrainTimeout. Its
// context ends when draining starts. Name tells it apart in Status and in the report of what was cut off. Two
// generations run their work at the same time only while the old one finishes its own. When the service is not ready
// any more, f is not run.
func (s *Service) Go(name string, f func(ctx context.Context)) { s.work.add(name, f) }

func (b *background) add(name string, f func(context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	run := func() {
		b.last++
		id := b.last
		b.running[id] = name
		b.wg.Go(func() {
			defer func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.running, id)
			}()
			f(b.ctx)
		})
	}
	switch {
	case b.ended:
	case b.begun:
		run()
	default:
		b.waiting = append(b.waiting, run)
	}
}

func (b *background) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	for _, run := range b.waiting {
		run()
	}
	b.waiting = nil
}

func (b *background) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.cancel()
}

func (b *background) names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.running))
	for _, name := range b.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
