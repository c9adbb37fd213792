// Package owned keeps what one generation at a time has for itself: its owners, their order, and what they write
// for the next generation.
//
// An owner is held or not. An Acquire that returns nil makes it held, a Release that returns nil ends that; a call
// that fails in any way changes nothing. So the results of the calls alone say what is to be called next. That holds
// also for a call that was given up and returns later: no other call of that owner begins before.
package owned

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	maxOwners = 32  // one descriptor each in a message
	maxName   = 100 // bytes
)

// Owner is drain.Owner, which says what both do.
type Owner interface {
	Acquire(ctx context.Context, r io.Reader) error
	Release(ctx context.Context, w io.Writer) error
}

// Owners are those of one generation. The zero value has none. Names may be called at any time, the other methods
// by one goroutine at a time. A bound is for each owner: the ctx of its calls ends by then, and with the caller's.
// When the caller's has ended, nothing is called.
type Owners struct{ all []*slot }

// Add adds one after those that are there. The name is what two versions of the program agree on.
func (o *Owners) Add(name string, owner Owner) error {
	switch {
	case owner == nil:
		return errors.New("the owner is nil; give one with Acquire and Release")
	case name == "" || len(name) > maxName || !utf8.ValidString(name):
		return fmt.Errorf("the name has %d bytes; give it 1 to %d, of valid UTF-8", len(name), maxName)
	case slices.Contains(o.Names(), name):
		return errors.New("there is one of that name; give each a name of its own")
	case len(o.all) == maxOwners:
		return fmt.Errorf("there are %d; put several into one owner", maxOwners)
	}
	o.all = append(o.all, &slot{name: name, owner: owner})
	return nil
}

// Names returns the names, in order.
func (o *Owners) Names() []string {
	names := make([]string, len(o.all))
	for i, s := range o.all {
		names[i] = s.name
	}
	return names
}

// Acquire calls Acquire of each in order, with what states has for it, else with nil. The caller closes states.
//
// When one fails, the error names it, and those before it are released in reverse. So what is outside this process,
// such as a lease, is free for the generation that goes on. What they write is dropped: nothing has changed since
// Acquire. They are never asked to save, which could put an older state over that of a process that serves.
func (o *Owners) Acquire(ctx context.Context, states States, bound time.Duration) error {
	for i, s := range o.all {
		err := s.acquire(ctx, bound, states.of(s.name))
		if err == nil {
			continue
		}
		for _, s := range slices.Backward(o.all[:i]) {
			err = both(err, s.release(context.WithoutCancel(ctx), bound, &sink{}))
		}
		return err
	}
	return nil
}

// Release calls Release of each that is held, in reverse order. Those that to names write what States has, the others
// have nothing to write to.
//
// When one fails, the error names it, and there are no States; the caller calls Regain, also before a last Release.
// The rest is not released then, but when to is nil: nothing follows, and each has to save what it has.
//
// The caller closes States when the next generation serves, and not before: Regain reads from them.
func (o *Owners) Release(ctx context.Context, to []string, bound time.Duration) (States, error) {
	var failed error
	var states States
	for _, s := range slices.Backward(o.all) {
		var w *sink
		if slices.Contains(to, s.name) {
			w = &sink{keep: true}
		}
		if failed = both(failed, s.release(ctx, bound, w)); failed != nil && to != nil {
			break
		}
		if s.kept != nil {
			states.all = append(states.all, s.kept)
		}
	}
	if failed != nil {
		return States{}, failed
	}
	return states, nil
}

// Regain makes all this generation's again, in order: it calls Acquire of each that is not held, with what that
// owner itself has written. It passes nil when that owner had nothing to write to, or its States are closed.
//
// It waits for a call that was given up to return. It repeats an Acquire that fails until the bound: a lock may be
// free only when the process of the next generation is gone. The error names the owner that has failed. Regain may be
// called again, and goes on with that one.
func (o *Owners) Regain(ctx context.Context, bound time.Duration) error {
	for _, s := range o.all {
		if err := s.regain(ctx, bound); err != nil {
			return err
		}
	}
	return nil
}

// both is two errors in one line; each may be nil.
func both(a, b error) error {
	if a == nil || b == nil {
		return errors.Join(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}
