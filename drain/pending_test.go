package drain

import "testing"

// sequences calls f with every sequence of up to n commands.
func sequences(n int, f func([]verb)) {
	var grow func([]verb)
	grow = func(seq []verb) {
		f(seq)
		if len(seq) < n {
			for _, c := range []verb{verbSwap, verbPull, verbRestore, verbStop} {
				grow(append(seq[:len(seq):len(seq)], c))
			}
		}
	}
	grow(nil)
}

// chain is what a service does with what is pending, and nothing else.
type chain struct {
	pulled, stopped bool
	later           pending
}

// settle does what waits, one swap after the other.
func (c *chain) settle() {
	c.pulled = c.pulled || c.later.pull
	for c.later.swap && !c.stopped {
		sw := c.later.next()
		c.pulled, c.later = sw.pull, pending{swap: sw.swap, stop: c.later.stop}
	}
	c.stopped = c.stopped || c.later.stop
}

// Whatever is sent while it has to wait, and wherever it is passed on in between, the end is as if each
// command had been heeded before the next came.
func TestPendingKeepsTheOrder(t *testing.T) {
	t.Parallel()
	sequences(4, func(seq []verb) {
		var want chain
		for _, c := range seq {
			switch c {
			case verbSwap:
				want.pulled = false
			case verbPull:
				want.pulled = true
			case verbRestore:
				want.pulled = false
			case verbStop:
				want.stopped = true
			}
		}
		// this many come to the old generation, the rest to the new one before it has a word from the old
		for cut := range len(seq) + 1 {
			var got chain
			var later pending
			for _, c := range seq[:cut] {
				got.later.add(c)
			}
			for _, c := range seq[cut:] {
				later.add(c)
			}
			got.later.then(later)
			got.settle()
			if got.pulled != want.pulled || got.stopped != want.stopped {
				t.Errorf("%v, of which %d to the old generation: pulled %v, stopped %v; want %v, %v", seq, cut, got.pulled,
					got.stopped, want.pulled, want.stopped)
			}
		}
	})
}
