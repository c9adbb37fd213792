//go:build linux

// Package kinds takes services through ten swaps in a row and a stop, under
// clients of one kind of connection after the other. What these see is the
// second table in examples/README.md.
package kinds

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// drainTimeout is more than all the swaps take, however busy the machine is.
const drainTimeout = 30 * time.Minute

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

// bed is a service that is swapped ten times in a row and then stopped.
type bed struct {
	*flow.Node
	t        *testing.T
	swaps    atomic.Int32  // done so far
	stopping chan struct{} // closed when the stop is about to begin
	draining chan struct{} // closed when nobody listens any more
}

func newBed(t *testing.T, service string, flags ...string) *bed {
	t.Helper()
	// Uploads and downloads hold a generation for two swaps, which take longer than the default when the machine is
	// busy.
	flags = append([]string{"-probation", "1ms", "-drain-timeout", drainTimeout.String()}, flags...)
	b := &bed{t: t, stopping: make(chan struct{}), draining: make(chan struct{})}
	b.Node = flow.NewNode(t, flow.Host()+":8080", flow.Build(t, service, "v1", ""), flags...)
	b.Control("start")
	return b
}

// run has the crowds ask while the service goes through ten swaps and the stop,
// and reports what they have seen.
func (b *bed) run(crowds ...*crowd) {
	b.t.Helper()
	var clients sync.WaitGroup
	for _, c := range crowds {
		c.bed = b
		for range c.n {
			clients.Go(c.client)
		}
	}
	for _, c := range crowds {
		flow.Eventually(b.t, c.Name+", "+c.Client+": the first request", func() bool { return c.begun.Load() > 0 })
	}
	for range 10 {
		b.Swaps(1)
		b.swaps.Add(1)
	}
	b.finish()
	clients.Wait()
	for _, c := range crowds {
		c.report()
	}
}

// finish is the stop.
func (b *bed) finish() {
	b.t.Helper()
	close(b.stopping)
	go func() {
		for {
			conn, err := net.Dial("tcp", b.Addr)
			if errors.Is(err, syscall.ECONNREFUSED) {
				close(b.draining)
				return
			}
			if err == nil {
				_ = conn.Close()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	b.Stop()
}

// ends tells whether the stop has begun.
func (b *bed) ends() bool {
	select {
	case <-b.stopping:
		return true
	default:
		return false
	}
}

// outlasts returns when two swaps have come about since the given number, or
// the service drains.
func (b *bed) outlasts(swaps int32) {
	for b.swaps.Load() < swaps+2 {
		select {
		case <-b.draining:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// crowd is n clients that ask in the same way, and never twice.
type crowd struct {
	flow.Kind // its counts are the crowd's
	n         int
	fresh     bool // a connection for each request
	ask       func(*client) error

	bed    *bed
	begun  atomic.Int32
	mu     sync.Mutex // guards what follows, and the counts
	failed []error
}

func (c *crowd) report() {
	c.bed.t.Helper()
	c.Lost = len(c.failed)
	for _, err := range c.failed {
		c.bed.t.Logf("%s, %s: %v", c.Name, c.Client, err)
	}
	c.Report(c.bed.t)
}

// client asks until nobody listens any more.
func (c *crowd) client() {
	cl := &client{crowd: c}
	defer cl.close()
	for {
		if err := cl.connect(); err != nil {
			select {
			case <-c.bed.stopping: // nothing was sent
			default:
				c.count(1, 0, fmt.Errorf("connect: %w", err))
			}
			return
		}
		c.begun.Add(1)
		swaps := c.bed.swaps.Load()
		if err := c.ask(cl); err != nil {
			cl.close()
			c.count(1, 0, fmt.Errorf("begun after swap %d, now after swap %d: %w", swaps, c.bed.swaps.Load(), err))
			continue
		}
		c.count(1, 0, nil)
		if c.fresh {
			cl.close()
		}
	}
}

func (c *crowd) count(sent, closed int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Sent += sent
	if err != nil {
		c.failed = append(c.failed, err)
	}
	if !c.bed.ends() {
		c.Closed += closed
	}
}
