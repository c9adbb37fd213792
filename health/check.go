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

	mu      sync.Mutex // guards what follows, and writes of bad
	last    *check
	noted   *check  // the one that bad is of
	untold  []error // changes that changed has not been told
	telling bool
}

// check is one call of it.
type check struct {
	begun time.Time     // orders them: the next begins checkAge later
	over  chan struct{} // closed when it has returned
	err   error         // written before
}

// outcome asks, unless a call is under way or has just been.
func (c *checkup) outcome() error {
	if c.ask == nil {
		return nil
	}
	k, now := c.ongoing()
	err := k.await(now)
	c.note(k, err)
	return err
}

// ongoing is the call that is under way, or has just been.
func (c *checkup) ongoing() (k *check, now time.Time) {
	now = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.old(now) {
		c.last = &check{begun: now, over: make(chan struct{})}
		go c.last.run(c.ask)
	}
	return c.last, now
}

// note is told what k has said, by each probe that has waited for it: by one that is late, too. It tells changed of the
// changes in their order, one at a time, and without mu: changed may be slow, and may ask.
func (c *checkup) note(k *check, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noted != nil && k.begun.Before(c.noted.begun) {
		return
	}
	if c.noted = k; k.isOver() { // it may have hung before
		err = k.err
	}
	if was := c.bad.Load(); err == nil {
		c.bad.Store(nil)
		if was == nil {
			return
		}
	} else if c.bad.Store(&err); was != nil {
		return
	}
	if c.changed == nil {
		return
	}
	if c.untold = append(c.untold, err); c.telling {
		return
	}
	c.telling = true
	defer func() { c.telling = false }()
	for len(c.untold) > 0 {
		next := c.untold[0]
		c.untold = c.untold[1:]
		c.tellLocked(next)
	}
}

func (c *checkup) tellLocked(err error) {
	c.mu.Unlock()
	defer c.mu.Lock() // it may panic, too
	c.changed(err)
}

func (k *check) isOver() bool {
	select {
	case <-k.over:
		return true
	default:
		return false
	}
}

// old: one that hangs never is, so there is never a second one beside it.
func (k *check) old(now time.Time) bool { return k.isOver() && now.Sub(k.begun) >= checkAge }

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
