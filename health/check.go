package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	checkTime = time.Second            // that Config.Healthy has
	checkAge  = 100 * time.Millisecond // how old an outcome may be
)

var (
	errCheckHangs = fmt.Errorf("the check does not return within %v", checkTime)
	errCheckEnded = errors.New("the check did not return, its goroutine has ended (runtime.Goexit)")
)

// checkup is what Config.Healthy says.
type checkup struct {
	ask     func(context.Context) error // nil: the service is healthy throughout
	changed func(error)
	bad     atomic.Pointer[error] // the last outcome; nil: healthy

	mu   sync.Mutex // guards last
	last *check
}

// check is one call of it.
type check struct {
	begun time.Time
	over  chan struct{} // closed when it has returned
	err   error         // written before
}

// outcome asks, unless a call is under way or has just been.
func (c *checkup) outcome() error {
	if c.ask == nil {
		return nil
	}
	now := time.Now()
	c.mu.Lock()
	if c.last == nil || c.last.old(now) {
		c.last = &check{begun: now, over: make(chan struct{})}
		go c.last.run(c.ask)
	}
	k := c.last
	c.mu.Unlock()
	err := k.await(now)
	was := c.bad.Load()
	switch {
	case err == nil && was != nil:
		if c.bad.CompareAndSwap(was, nil) && c.changed != nil {
			c.changed(nil)
		}
	case err != nil:
		if c.bad.CompareAndSwap(was, &err) && was == nil && c.changed != nil {
			c.changed(err)
		}
	}
	return err
}

func (k *check) old(now time.Time) bool {
	select {
	case <-k.over:
		return now.Sub(k.begun) >= checkAge
	default:
		return false // it may hang: there is never a second one beside it
	}
}

func (k *check) await(now time.Time) error {
	late := time.NewTimer(checkTime - now.Sub(k.begun))
	defer late.Stop()
	select {
	case <-k.over:
		return k.err
	case <-late.C:
		return errCheckHangs
	}
}

func (k *check) run(ask func(context.Context) error) {
	ctx, done := context.WithTimeout(context.Background(), checkTime)
	defer done()
	k.err = errCheckEnded
	defer close(k.over)
	defer func() {
		if p := recover(); p != nil {
			k.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	k.err = ask(ctx)
}

// unwell is the answer while Config.Healthy returns err.
func unwell(status int, err error) answer {
	reason, _, _ := strings.Cut(err.Error(), "\n")
	message, _ := json.Marshal("not healthy: " + short(reason, 200))
	return newAnswer(status, `{"code":-1,"message":`+string(message)+`}`)
}

// Unhealthy returns why Config.Healthy has last failed; nil, too, before the first probe.
func (s *State) Unhealthy() error {
	if bad := s.check.bad.Load(); bad != nil {
		return *bad
	}
	return nil
}
