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

// coarse is a clock for each request: it is as late as a tick. While nobody asks, it stands still and runs no timer.
type coarse struct {
	at    atomic.Int64 // an instant; 0: the clock stands
	asked atomic.Bool  // since the last tick
}

const coarseTick = 10 * time.Millisecond

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
	if !k.asked.Swap(false) {
		k.at.Store(0)
		return
	}
	k.at.Store(int64(now()))
	time.AfterFunc(coarseTick, k.tick)
}
