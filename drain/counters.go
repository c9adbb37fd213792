package drain

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Counters are counters of the program that go on over swaps: an owner, to be given to Own. The zero value has none.
// Several goroutines may use one.
//
// A name may have labels, as in pushes_total{code="200"}. Then All gives the lines of a page for Prometheus, and Value
// is for NewCounterFunc of its client package. Names that only another version of the program knows are carried on,
// too.
//
// What is counted before Acquire, or while a swap fails, is kept. What an older generation counts after its Release, as
// for sessions that go on there, stays with it and ends with it. Nothing is saved at a stop: counters begin at 0 then,
// as Prometheus expects.
type Counters struct {
	mu       sync.Mutex
	now      map[string]float64
	released bool // once: what comes from then on is what c has written
}

// Add adds delta to the counter of that name. It panics if delta is negative or not a number.
func (c *Counters) Add(name string, delta float64) {
	if !(delta >= 0) {
		panic(fmt.Sprintf("drain: Counters.Add(%q, %v): a counter only grows; add 0 or more", name, delta))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(name, delta)
}

func (c *Counters) add(name string, delta float64) {
	if c.now == nil {
		c.now = map[string]float64{}
	}
	c.now[name] += delta
}

// Value returns the counter of that name, 0 if there is none.
func (c *Counters) Value(name string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now[name]
}

// All returns the names and values of one moment, ordered by name. The loop may call the methods of c.
func (c *Counters) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		c.mu.Lock()
		all := maps.Clone(c.now)
		c.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

// Acquire adds what r has to what has been counted here, unless c itself has written it. A nil or an empty r adds
// nothing. An error says that r has no counters; nothing is added then. It is for Own to call.
func (c *Counters) Acquire(_ context.Context, r io.Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released || r == nil {
		return nil
	}
	var handed map[string]float64
	if err := gob.NewDecoder(r).Decode(&handed); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("counters: %w", err)
	}
	for name, n := range handed {
		c.add(name, n)
	}
	return nil
}

// Release writes what has been counted; with a nil w it does nothing. It returns an error of w, and nothing is given up
// then. It is for Own to call.
func (c *Counters) Release(_ context.Context, w io.Writer) error {
	if w == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := gob.NewEncoder(w).Encode(c.now); err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	c.released = true
	return nil
}
