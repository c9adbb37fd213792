package drain

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// hooks are the calls of Config.Join, Leave and Gone. What is not fixed is the loop's, but for the channels.
type hooks struct {
	inbox
	ctx context.Context
	cfg *Config

	calls  int                // how many there were
	before <-chan struct{}    // closed when the latest has returned; nil: there was none
	end    context.CancelFunc // ends the latest one's ctx
	joined bool               // Join has returned nil, and Leave was not called since
}

// hookReturned: a hook has, or has had its time.
type hookReturned struct {
	name  string
	call  int // which of hooks.calls it was
	err   error
	ended error // of its ctx, by then
}

// part is the service's entry in its registry.
func (h *hooks) part(pulled func() bool) part {
	join := true
	return part{
		inherit: func(m message) { join = m.Join },
		acquire: func() { h.joined = !join },
		release: func(m *message) {
			m.Join = !h.joined
			h.stop()
		},
		regain: func() { // release may have ended a Join
			if !h.joined && !pulled() {
				h.join()
			}
		},
	}
}

// call calls a hook of the user in the background. It ends the ctx of the hook before, and waits until that has
// returned: else a registry would end up with whichever came last. The channel is closed when the hook has returned, or
// had its time.
func (h *hooks) call(name string, f func(context.Context) error, within time.Duration) <-chan struct{} {
	ctx, done := context.WithTimeout(h.ctx, within)
	h.calls++
	if f == nil {
		done()
		return ctx.Done()
	}
	h.stop()
	before, returned, over := h.before, make(chan struct{}), make(chan struct{})
	h.before, h.end = returned, done
	call, result := h.calls, make(chan error, 1)
	go func() {
		defer close(returned)
		if before != nil {
			<-before
		}
		if ctx.Err() == nil {
			survive(func() error { return f(ctx) }, func(err error) { result <- err })
		}
	}()
	go func() {
		defer close(over)
		defer done()
		var err error
		select {
		case err = <-result:
		case <-ctx.Done():
			err = fmt.Errorf("not over within %v: %w", within, ctx.Err())
		}
		h.post(hookReturned{name, call, err, ctx.Err()})
	}()
	return over
}

// returned takes what a hook has returned, and tells whether that is to be told.
func (h *hooks) returned(e hookReturned) error {
	switch {
	case e.err == nil:
		// Leave may have been called before this event came.
		h.joined = h.joined || e.name == "Join" && e.ended == nil && e.call == h.calls
	case !errors.Is(e.ended, context.Canceled): // or the next one has ended it
		return fmt.Errorf("drain: Config.%s: %w", e.name, e.err)
	}
	return nil
}

func (h *hooks) stop() {
	if h.end != nil {
		h.end()
	}
}

func (h *hooks) join() { h.call("Join", h.cfg.Join, h.cfg.PullMax) }

func (h *hooks) leave() <-chan struct{} {
	h.joined = false
	return h.call("Leave", h.cfg.Leave, h.cfg.PullMax)
}

// outlive runs a hook of the user that may fail in any way while the service goes on: by a panic, by
// runtime.Goexit, by not returning. It waits no longer than ctx lasts.
func outlive(ctx context.Context, f func() error) error { return await(ctx, survive, f) }

// await runs f in a goroutine of its own, for runtime.Goexit must not end the caller's, and waits no longer
// than ctx lasts.
func await(ctx context.Context, by func(func() error, func(error)), f func() error) error {
	result := make(chan error, 1)
	go by(f, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result: // both at once
		return err
	default:
		return fmt.Errorf("not over in time: %w", ctx.Err())
	}
}

var errGoexit = errors.New("it did not return, its goroutine has ended (runtime.Goexit); return an error instead")

// survive runs a hook, and then the other function with its error, also where a panic or runtime.Goexit ends the hook.
func survive(f func() error, then func(error)) {
	orCrash(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return f()
	}, then)
}

// orCrash is survive for a hook that runs before a generation serves: a panic ends the process, as elsewhere.
func orCrash(f func() error, then func(error)) {
	err := errGoexit
	defer func() {
		if r := recover(); r != nil {
			panic(r)
		}
		then(err)
	}()
	err = f()
}
