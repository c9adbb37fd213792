package listener

import (
	"sync/atomic"
	"time"
)

// instant is a moment as the time since origin. To know one costs half of what time.Now does. Zero is longer ago than
// any grace.
type instant = time.Duration

// origin has a monotonic reading, so a change of the wall clock ends no grace.
var origin = time.Now().Add(-1 << 60)

func now() instant { return time.Since(origin) }

// coarse is a clock for each request: it is as late as a tick. While nobody asks, or awaits a tick, it stands still and
// runs no timer.
type coarse struct {
	at      atomic.Int64 // an instant; 0: the clock stands
	asked   atomic.Bool  // since the last tick
	waiters waiters
}

// waiter awaits ticks.
type waiter struct {
	of interface {
		ticks() (again bool)
	}
	next *waiter
}

type waiters struct{ first atomic.Pointer[waiter] }

func (w *waiters) add(one *waiter) {
	for {
		one.next = w.first.Load()
		if w.first.CompareAndSwap(one.next, one) {
			return
		}
	}
}

func (w *waiters) any() bool { return w.first.Load() != nil }

func (w *waiters) tick() {
	for one := w.first.Swap(nil); one != nil; {
		next := one.next
		if one.of.ticks() {
			w.add(one)
		}
		one = next
	}
}

const coarseTick = 10 * time.Millisecond

// await makes the clock tell one of its next tick.
func (k *coarse) await(one *waiter) {
	k.waiters.add(one)
	k.now() // so that it ticks
}

func (k *coarse) now() instant {
	at := k.at.Load()
	if at == 0 {
		if at = int64(now()); k.at.CompareAndSwap(0, at) {
			time.AfterFunc(coarseTick, k.tick)
		}
	} else if !k.asked.Load() {
		k.asked.Store(true)
	}
	return instant(at)
}

func (k *coarse) tick() {
	k.waiters.tick()
	if !k.asked.Swap(false) && !k.waiters.any() {
		if k.at.Store(0); k.waiters.any() { // since
			k.now()
		}
		return
	}
	k.at.Store(int64(now()))
	time.AfterFunc(coarseTick, k.tick)
}
