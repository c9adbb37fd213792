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

// coarse is a clock for each request: it is as late as a tick. While no goroutine asks it, or awaits a tick, it stands
// still and runs no timer.
type coarse struct {
	at      atomic.Int64 // an instant; 0: the clock stands
	asked   atomic.Bool  // since the last tick
	waiters stack[ticker]
}

// ticker awaits ticks.
type ticker interface {
	ticks() (again bool)
}

const coarseTick = 10 * time.Millisecond

// await makes the clock tell one of its next tick.
func (k *coarse) await(one *element[ticker]) {
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
	for one := range k.waiters.takeAll() {
		if one.value.ticks() {
			k.waiters.add(one)
		}
	}
	if !k.asked.Swap(false) && k.waiters.isEmpty() {
		if k.at.Store(0); !k.waiters.isEmpty() { // since
			k.now()
		}
		return
	}
	k.at.Store(int64(now()))
	time.AfterFunc(coarseTick, k.tick)
}
