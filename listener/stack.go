package listener

import (
	"iter"
	"sync/atomic"
)

// stack is what many goroutines add to without a lock, until one of them takes all.
type stack[T any] struct{ top atomic.Pointer[element[T]] }

// element is in one stack at most.
type element[T any] struct {
	value T
	below *element[T]
}

// add tells whether the stack was empty.
func (s *stack[T]) add(e *element[T]) (first bool) {
	for {
		e.below = s.top.Load()
		if s.top.CompareAndSwap(e.below, e) {
			return e.below == nil
		}
	}
}

func (s *stack[T]) isEmpty() bool { return s.top.Load() == nil }

// takeAll returns all elements, the newest first. Each may be added again as soon as it has come.
func (s *stack[T]) takeAll() iter.Seq[*element[T]] {
	e := s.top.Swap(nil)
	return func(yield func(*element[T]) bool) {
		for e != nil {
			next := e.below
			if !yield(e) {
				return
			}
			e = next
		}
	}
}
