//go:build linux

package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// Load is clients that POST and never retry. The counts are complete after End.
type Load struct {
	draintest.Load
	t testing.TB

	mu sync.Mutex
	by map[string]int // answers, by X-Pid
}

// NewLoad starts keep clients that keep their connection to addr, and fresh
// ones that open one for each request. It returns when each has been answered.
func NewLoad(t testing.TB, addr string, keep, fresh int) *Load {
	t.Helper()
	return NewLoadBy(t, nil, addr, keep, fresh)
}

// NewLoadBy is NewLoad for clients that connect by dial, and name host.
func NewLoadBy(t testing.TB, dial func() (net.Conn, error), host string, keep, fresh int) *Load {
	t.Helper()
	l := &Load{t: t, by: map[string]int{}}
	l.Client = draintest.Client{Addr: host, Dial: dial, Timeout: Patience}
	l.Keep, l.Fresh = keep, fresh
	l.Think = func(draintest.Result) time.Duration { return rand.N(200 * time.Millisecond) }
	l.Each = func(r draintest.Result) {
		if r.Err == nil {
			l.mu.Lock()
			l.by[r.Answer.Header.Get("X-Pid")]++
			l.mu.Unlock()
		}
	}
	l.Start(context.Background())
	t.Cleanup(func() { l.End() })
	l.within(l.Settle)
	return l
}

func (l *Load) within(wait func(context.Context) error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := wait(ctx); err != nil {
		l.t.Fatalf("not within %v: %v", Patience, err)
	}
}

// Requests returns how many have been answered, or have failed, so far.
func (l *Load) Requests() int { return l.Counts().Requests }

// Failed returns how many have failed so far.
func (l *Load) Failed() int { return len(l.Counts().Failed) }

// Refused returns how many of them have not even found somebody who listens.
func (l *Load) Refused() (n int) {
	for _, r := range l.Counts().Failed {
		if errors.Is(r.Err, syscall.ECONNREFUSED) {
			n++
		}
	}
	return n
}

// Reconnects returns how often a client that keeps its connection has lost it.
func (l *Load) Reconnects() int { return l.Counts().Reconnects }

// By returns how many requests the process has answered.
func (l *Load) By(pid int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[strconv.Itoa(pid)]
}

// Flows waits until there have been n requests more.
func (l *Load) Flows(n int) {
	l.t.Helper()
	until := l.Requests() + n
	l.await(fmt.Sprintf("%d requests more", n), func() bool { return l.Requests() >= until })
}

// Reaches waits until the process has answered n requests more.
func (l *Load) Reaches(pid, n int) {
	l.t.Helper()
	until := l.By(pid) + n
	l.await(fmt.Sprintf("%d requests more for pid %d", n, pid), func() bool { return l.By(pid) >= until })
}

func (l *Load) await(what string, fact func() bool) {
	l.t.Helper()
	l.within(func(ctx context.Context) error {
		if err := l.Await(ctx, func(draintest.Counts) bool { return fact() }); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// End ends the load and waits for the last answers. Ending twice is the same.
func (l *Load) End() *Load {
	l.Stop()
	return l
}

// Lossless ends the load and asserts that nothing has failed and that clients
// have kept their connections.
func (l *Load) Lossless() {
	l.t.Helper()
	l.t.Log(l.End())
	if l.Failed() > 0 || l.Reconnects() > 0 {
		l.t.Errorf("%v, want 0 failed, 0 reconnects", l)
	}
}

func (l *Load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("answered by %d processes: %v", len(l.by), l.Counts())
}
