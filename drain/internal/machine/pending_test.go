package machine

import "testing"

// sequences calls f with every sequence of up to n commands.
func sequences(n int, f func([]Verb)) {
	var grow func([]Verb)
	grow = func(seq []Verb) {
		f(seq)
		if len(seq) < n {
			for _, c := range []Verb{Swap, Pull, Restore, Stop} {
				grow(append(seq[:len(seq):len(seq)], c))
			}
		}
	}
	grow(nil)
}

// chain is what a service does with what is pending, and nothing else.
type chain struct {
	pulled, stopped bool
	later           Pending
}

// settle does what waits, one swap after the other.
func (c *chain) settle() {
	c.pulled = c.pulled || c.later.Pull
	for c.later.Swap && !c.stopped {
		sw := c.later.AfterSwap()
		c.pulled, c.later = sw.Pull, Pending{Swap: sw.Swap, Stop: c.later.Stop}
	}
	c.stopped = c.stopped || c.later.Stop
}

// Whatever is sent while it has to wait, and wherever it is passed on in between, the end is as if each
// command had been heeded before the next came.
func TestPendingKeepsTheOrder(t *testing.T) {
	t.Parallel()
	sequences(4, func(seq []Verb) {
		var want chain
		for _, c := range seq {
			switch c {
			case Swap:
				want.pulled = false
			case Pull:
				want.pulled = true
			case Restore:
				want.pulled = false
			case Stop:
				want.stopped = true
			}
		}
		// this many come to the old generation, the rest to the new one before it has a word from the old
		for cut := range len(seq) + 1 {
			var got chain
			var later Pending
			for _, c := range seq[:cut] {
				got.later.Add(c)
			}
			for _, c := range seq[cut:] {
				later.Add(c)
			}
			got.later.Then(later)
			got.settle()
			if got.pulled != want.pulled || got.stopped != want.stopped {
				t.Errorf("%v, of which %d to the old generation: pulled %v, stopped %v; want %v, %v",
					seq, cut, got.pulled, got.stopped, want.pulled, want.stopped)
			}
		}
	})
}
