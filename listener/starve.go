package listener

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// starveAgain is the least time between two calls of Config.OnStarved.
const starveAgain = time.Minute

// starvation is when OnStarved was called last, in Unix nanoseconds; 0: never.
type starvation struct{ at atomic.Int64 }

// due tells whether it is to be called now.
func (s *starvation) due() bool {
	now, last := time.Now().UnixNano(), s.at.Load()
	return (last == 0 || now-last >= int64(starveAgain)) && s.at.CompareAndSwap(last, now)
}

// scarce tells whether an error of accept(2) is about what this process or the kernel lacks, and
// not about a client.
func scarce(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
