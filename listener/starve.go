package listener

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// starveAgain is the least time between two calls of OnStarved's function.
const starveAgain = time.Minute

// starvationReport calls what OnStarved has set.
type starvationReport struct {
	tell atomic.Pointer[func(listener string, err error)]
	last atomic.Int64 // when it was told of, in Unix nanoseconds
}

// report tells of a client that can't be accepted, at most once in starveAgain.
func (s *starvationReport) report(listener string, err error) {
	now, last := time.Now().UnixNano(), s.last.Load()
	if last != 0 && now-last < int64(starveAgain) || !s.last.CompareAndSwap(last, now) {
		return
	}
	if tell := s.tell.Load(); tell != nil {
		(*tell)(listener, err)
	}
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
