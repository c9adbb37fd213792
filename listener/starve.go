package listener

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// starveAgain is how long OnStarved is not called again.
const starveAgain = time.Minute

// starvation is what OnStarved has set.
type starvation struct {
	tell atomic.Pointer[func(listener string, err error)]
	last atomic.Int64 // when it was told of, in Unix nanoseconds
}

// OnStarved makes the set call f when this process can't take a client that has connected, for want
// of descriptors or of memory in the kernel: the client stays in the kernel's queue, for a later
// Accept or another process. Listener is network and address, as given to Listen. F is called at
// most once a minute, on the goroutine that accepts.
func (s *Set) OnStarved(f func(listener string, err error)) { s.starved.tell.Store(&f) }

func (s *Set) starve(listener string, err error) {
	now, last := time.Now().UnixNano(), s.starved.last.Load()
	if last != 0 && now-last < int64(starveAgain) || !s.starved.last.CompareAndSwap(last, now) {
		return
	}
	if tell := s.starved.tell.Load(); tell != nil {
		(*tell)(listener, err)
	}
}

// scarce tells whether an error of accept(2) is about what this process or the kernel has not got,
// and not about a client.
func scarce(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
