package drain

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// copied: a terminal, a supervisor and pkill(1) signal both this process and its keeper, which forwards the signal. Two
// that come by the two ways within this time are one. A keeper that gets no processor may be that late.
const copied = 2 * time.Second

// copies tell signals that come both ways. The time is when one came, and its copy may come.
type copies struct {
	mu     sync.Mutex // guards what follows
	direct map[os.Signal]time.Time
	raised map[os.Signal]bool // the keeper has forwarded it, and this process is about to get it
	kept   map[os.Signal]time.Time
}

func newCopies() *copies {
	return &copies{
		direct: make(map[os.Signal]time.Time), raised: make(map[os.Signal]bool), kept: make(map[os.Signal]time.Time),
	}
}

// first tells whether a signal that came one way is no copy of one that came the other way, and remembers it.
func first(sig os.Signal, at time.Time, this, other map[os.Signal]time.Time) bool {
	if t, ok := other[sig]; ok && at.Sub(t) < copied {
		delete(other, sig)
		return false
	}
	this[sig] = at
	return true
}

// forwarded tells whether a signal is to be raised here that the keeper has got.
func (c *copies) forwarded(sig os.Signal, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raised[sig] = first(sig, at, c.kept, c.direct)
	return c.raised[sig]
}

// came tells whether a signal counts that this process has got.
func (c *copies) came(sig os.Signal, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raised[sig] {
		c.raised[sig] = false
		return true
	}
	return first(sig, at, c.direct, c.kept)
}

// given are, by the number of a signal, for how long it has been there.
type given struct{ Direct, Kept map[int]time.Duration }

// pending returns the signals whose copies may come still. Once another generation is the main one, they go there.
func (c *copies) pending() given {
	c.mu.Lock()
	defer c.mu.Unlock()
	return given{ages(c.direct), ages(c.kept)}
}

func (c *copies) add(g given) {
	c.mu.Lock()
	defer c.mu.Unlock()
	remember(c.direct, g.Direct)
	remember(c.kept, g.Kept)
}

func ages(at map[os.Signal]time.Time) map[int]time.Duration {
	ages := make(map[int]time.Duration)
	for sig, t := range at {
		if n, ok := sig.(syscall.Signal); ok && time.Since(t) < copied {
			ages[int(n)] = time.Since(t)
		}
	}
	return ages
}

func remember(at map[os.Signal]time.Time, ages map[int]time.Duration) {
	for n, age := range ages {
		if sig := syscall.Signal(n); at[sig].IsZero() {
			at[sig] = time.Now().Add(-age)
		}
	}
}
