package listener

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// endOfAge tells when a connection that begins now reaches its age of about span; 0: never, as where span is 0. Left is
// what another process has left of it; 0: that process has no MaxAge.
func endOfAge(span, left time.Duration) instant {
	if span <= 0 {
		return 0
	}
	jitter := span / 10
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
