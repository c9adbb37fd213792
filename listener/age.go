package listener

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// lifespan is how long connections live; 0 for ever.
type lifespan time.Duration

// end tells when a connection that begins now reaches its age; 0: never. Left is what another process has left of it;
// 0: nobody has counted.
func (l lifespan) end(left time.Duration) instant {
	if l <= 0 {
		return 0
	}
	span, jitter := time.Duration(l), time.Duration(l/10)
	span += rand.N(2*jitter+1) - jitter
	if left > 0 {
		span = min(span, left)
	}
	return now() + span
}

// age is how old a connection may become.
type age struct {
	end  instant     // 0: it has no end
	told atomic.Bool // the client is told that the connection ends
}

func (a *age) over() bool { return a.end != 0 && now() >= a.end }

// left is the rest of it in milliseconds, at least 1; 0: it has no end.
func (a *age) left() int64 {
	if a.end == 0 {
		return 0
	}
	return max(1, (a.end - now()).Milliseconds())
}
