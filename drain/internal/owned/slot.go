package owned

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"
)

// How long Regain waits before it repeats an Acquire: the first time, and at most.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

// grace is how long a call that heeds its ctx has to return: its own error tells what it has waited for.
const grace = 100 * time.Millisecond

// slot is one owner, and what is known of it.
type slot struct {
	name  string
	owner Owner
	held  bool
	kept  *state // what it has written in Release; nil: nothing, or it is held
	runs  *call  // the latest, as long as it is not known to have returned
}

// call is a call of an owner's method.
type call struct {
	method string
	begun  time.Time
	over   chan struct{}     // closed when it has returned
	err    error             // what it has returned; set by then
	then   func(error) error // takes that into the slot
}

var errGoexit = errors.New("it did not return, its goroutine has ended (runtime.Goexit); return an error instead")

// call calls a method in a goroutine of its own, for it may end that, or never return.
func (s *slot) call(ctx context.Context, method string, f func() error, then func(error) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("owner %q: %s is not called: %w", s.name, method, err)
	}
	c := &call{method: method, begun: time.Now(), over: make(chan struct{}), err: errGoexit, then: then}
	s.runs = c
	go func() {
		defer close(c.over)
		defer func() {
			if r := recover(); r != nil {
				c.err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		c.err = f()
	}()
	return s.wait(ctx)
}

// wait waits until nothing runs, and returns what the call has returned. Runs is nil then.
func (s *slot) wait(ctx context.Context) error {
	c := s.runs
	if c == nil {
		return nil
	}
	select {
	case <-c.over:
	case <-ctx.Done():
		select {
		case <-c.over:
		case <-time.After(grace):
			after := time.Since(c.begun).Round(time.Millisecond)
			return fmt.Errorf("owner %q: %s has not returned after %v: %w", s.name, c.method, after, ctx.Err())
		}
	}
	s.runs = nil
	if err := c.then(c.err); err != nil {
		return fmt.Errorf("owner %q: %s: %w", s.name, c.method, err)
	}
	return nil
}

// acquire calls Acquire, with what st holds.
func (s *slot) acquire(ctx context.Context, bound time.Duration, st *state) error {
	ctx, end := context.WithTimeout(ctx, bound)
	defer end()
	f := func() error { return s.owner.Acquire(ctx, nil) }
	if r := st.open(); r != nil {
		f = func() error {
			defer r.end()
			return s.owner.Acquire(ctx, r)
		}
	}
	return s.call(ctx, "Acquire", f, func(err error) error {
		if err == nil {
			s.kept.close()
			s.held, s.kept = true, nil
		}
		return err
	})
}

// release calls Release, with to where it is not nil. When the owner has given up, all that it has written is
// kept, also what the file did not take at its end.
func (s *slot) release(ctx context.Context, bound time.Duration, to *sink) error {
	ctx, end := context.WithTimeout(ctx, bound)
	defer end()
	if err := s.wait(ctx); s.runs != nil {
		return err
	}
	if !s.held {
		return nil
	}
	var w io.Writer = to
	if to == nil {
		w, to = nil, &sink{}
	}
	if err := to.open(); err != nil {
		return fmt.Errorf("owner %q: open a file for its state: %w; see ulimit -n", s.name, err)
	}
	f := func() error {
		defer to.end()
		return s.owner.Release(ctx, w)
	}
	return s.call(ctx, "Release", f, func(err error) error {
		if to.refused != nil && !errors.Is(err, to.refused) {
			err = both(err, to.refused)
		}
		if s.held = err != nil; s.held || !to.keep {
			_ = to.file.Close() // nil is no fault
			return err
		}
		s.kept = &state{s.name, to.file, to.buf}
		return to.lost
	})
}

// regain calls Acquire until it succeeds, or bound is over.
func (s *slot) regain(ctx context.Context, bound time.Duration) error {
	ctx, end := context.WithTimeout(ctx, bound)
	defer end()
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := s.wait(ctx)
		if s.runs == nil && !s.held {
			err = s.acquire(ctx, bound, s.kept)
		}
		switch {
		case s.runs != nil:
			return err
		case s.held:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		if ctx.Err() != nil {
			return err
		}
	}
}
