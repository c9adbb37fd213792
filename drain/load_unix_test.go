//go:build unix

package drain_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// load is clients that POST to /echo and never retry.
type load struct {
	draintest.Load
	s *service

	mu   sync.Mutex
	gens map[string]int // answers by generation
}

// drive starts n clients that keep their connection, and waits until each has been through a request.
func (s *service) drive(n int, think time.Duration) *load {
	s.Helper()
	return s.driveBy(func() (*client, error) { return dial(s) }, n, 0, think)
}

// driveBy is drive for clients that connect by dial, and fresh ones that do so for each request.
func (s *service) driveBy(dial func() (*client, error), keep, fresh int, think time.Duration) *load {
	s.Helper()
	l := &load{s: s, gens: make(map[string]int)}
	l.Keep, l.Fresh = keep, fresh
	l.Client = draintest.Client{Addr: "test", Timeout: 2 * hung, Blind: true, Dial: func() (net.Conn, error) {
		c, err := dial()
		if err != nil {
			return nil, err
		}
		return c.Conn, nil
	}}
	l.Think = func(last draintest.Result) time.Duration {
		switch {
		case last.Err != nil:
			return 100 * time.Millisecond // a service that is gone fails the test, and not thousands of times
		case s.isQuiet():
			return rand.N(40 * time.Millisecond) // nothing happens that each moment of has to be met
		case think > 0:
			return rand.N(think)
		}
		return 0
	}
	l.Each = func(r draintest.Result) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.gens[r.Answer.Header.Get("X-Generation")]++
	}
	l.Start(context.Background())
	l.settle()
	return l
}

// attract is drive for a crowd, of which every other client connects for each request.
func (s *service) attract(n int) *load {
	s.Helper()
	return s.driveBy(func() (*client, error) { return dial(s) }, n/2, n-n/2, time.Millisecond)
}

// attractTo starts n clients that connect to that TCP address for each request.
func (s *service) attractTo(address string, n int) *load {
	s.Helper()
	return s.driveBy(func() (*client, error) {
		nc, err := net.DialTimeout("tcp", address, hung)
		return &client{Conn: nc}, err
	}, 0, n, 0)
}

// settle waits until each client has been through a whole request from now on.
func (l *load) settle() {
	l.s.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), hung, errors.New("it gets no answers"))
	defer cancel()
	if err := l.Settle(ctx); err != nil {
		l.s.Fatal(err)
	}
}

// end ends the load and wants that it has noticed nothing.
func (l *load) end() { l.s.Helper(); l.endWith(0) }

// endWith ends the load and wants no failure, and no more reconnects than that.
func (l *load) endWith(reconnects int) {
	l.s.Helper()
	l.settle()
	if n := l.Stop(); len(n.Failed) > 0 || n.Reconnects > reconnects {
		l.s.Errorf("by generation %v: %v", l.gens, n)
	}
}

// endBroken ends the load and wants that each client could connect, and at most that many requests broken.
func (l *load) endBroken(broken int) {
	l.s.Helper()
	l.settle()
	n := l.Stop()
	refused := slices.ContainsFunc(n.Failed, func(r draintest.Result) bool {
		var f *draintest.Failure
		return errors.As(r.Err, &f) && f.Kind == "refused"
	})
	if refused || len(n.Failed) > broken {
		l.s.Errorf("by generation %v: %v", l.gens, n)
	}
}
