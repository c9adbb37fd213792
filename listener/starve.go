package listener

import (
	"errors"
	"syscall"
	"time"
)

// starveAgain is the least time between two calls of Config.OnStarved.
const starveAgain = time.Minute

// starved tells of a client that can't be accepted, at most once in starveAgain.
func (s *Set) starved(listener string, err error) {
	now, last := time.Now().UnixNano(), s.starvedAt.Load()
	if (last == 0 || now-last >= int64(starveAgain)) && s.starvedAt.CompareAndSwap(last, now) {
		s.cfg.OnStarved(listener, err)
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
