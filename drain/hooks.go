package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// goneTime is how long Config.Gone may take.
const goneTime = 5 * time.Second

// hooks are the calls of Config.Join, Leave and Gone. The fields are the loop's.
type hooks struct {
	returned <-chan struct{}    // closed when the latest has returned; nil: there was none
	end      context.CancelFunc // ends the latest one's ctx
	joined   bool               // Join has returned nil, and Leave was not called since
	gone     bool               // Gone has been called
	goneBy   time.Time          // and must have returned
}

// hook calls a hook of the user in the background, and ends the ctx of the one before, which must
// have returned first: a registry would end up with whichever came last. The channel is closed when
// it has returned, or had its time.
func (s *Service) hook(name string, f func(context.Context) error, within time.Duration) <-chan struct{} {
	ctx, done := context.WithTimeout(s.ctx, within)
	if f == nil {
		done()
		return ctx.Done()
	}
	s.hooks.stop()
	before, returned, over := s.hooks.returned, make(chan struct{}), make(chan struct{})
	s.hooks.returned, s.hooks.end = returned, done
	result := make(chan error, 1)
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
		s.call(func() {
			switch {
			case err == nil:
				s.hooks.joined = s.hooks.joined || name == "Join" && ctx.Err() == nil
			case ctx.Err() != context.Canceled: // or the next one has ended it
				s.tell(slog.LevelError, "hook failed", fmt.Errorf("drain: Config.%s: %w", name, err))
			}
		})
	}()
	return over
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

func (h *hooks) stop() {
	if h.end != nil {
		h.end()
	}
}

func (s *Service) joinHook() { s.hook("Join", s.cfg.Join, s.cfg.PullMax) }

func (s *Service) leaveHook() <-chan struct{} {
	s.hooks.joined = false
	return s.hook("Leave", s.cfg.Leave, s.cfg.PullMax)
}

// bow ends a generation in which nothing is in flight any more; the last one calls Config.Gone before.
func (s *Service) bow(why string, err error) {
	s.result = err
	if s.replaced() || s.cfg.Gone == nil {
		s.finish(why, err)
		return
	}
	s.hooks.gone, s.hooks.goneBy = true, time.Now().Add(goneTime)
	if s.manager != nil {
		s.manager.extended = time.Time{} // what was asked for last is over with the drain
		s.report()
	}
	over := s.hook("Gone", s.cfg.Gone, goneTime)
	go func() {
		<-over
		s.call(func() {
			if s.phase != Stopped {
				s.finish(why, s.result)
			}
		})
	}()
}
