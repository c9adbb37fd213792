//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

// bed is a service under clients that end when nobody listens any more.
type bed struct {
	*flow.Node
	t        *testing.T
	stopping chan struct{} // closed when the stop is about to begin
	clients  sync.WaitGroup
}

func newBed(t *testing.T, flags ...string) *bed {
	t.Helper()
	return newBedAt(t, flow.Host(), flags...)
}

func newBedAt(t *testing.T, host string, flags ...string) *bed {
	t.Helper()
	b := &bed{t: t, stopping: make(chan struct{})}
	flags = append([]string{"-probation", "1ms", "-idle-grace", "500ms", "-drain-timeout", "30m"}, flags...)
	b.Node = flow.NewNode(t, host+":9090", flow.Build(t, "grpc", "v1", ""), flags...)
	b.Control("start")
	return b
}

// run has the crowds call while the service goes through ten swaps and the
// stop, and reports what they have seen.
func (b *bed) run(crowds ...*crowd) {
	b.t.Helper()
	for _, c := range crowds {
		c.bed = b
		for range c.n {
			b.clients.Go(func() { c.client(c) })
		}
	}
	for range 10 {
		for _, c := range crowds {
			c.flows(2 * c.n)
		}
		b.Swaps(1)
	}
	for _, c := range crowds {
		c.flows(2 * c.n)
	}
	close(b.stopping)
	b.Stop()
	b.clients.Wait()
	for _, c := range crowds {
		c.report()
	}
}

// crowd is n clients that call in the same way, and never twice.
type crowd struct {
	flow.Kind // its counts are the crowd's
	n         int
	client    func(*crowd) // calls until over says so
	creds     credentials.TransportCredentials

	bed *bed

	mu      sync.Mutex // guards what follows, and the counts
	retried int        // calls that grpc-go has begun anew by itself, since no server can have seen them
	failed  []error
	full    int // TLS handshakes that resumed nothing
}

func (c *crowd) report() {
	c.bed.t.Helper()
	c.Lost = len(c.failed)
	for _, err := range c.failed {
		c.bed.t.Logf("%s, %s: %v", c.Name, c.Client, err)
	}
	c.bed.t.Logf("%s, %s: %d begun anew by grpc-go itself", c.Name, c.Client, c.retried)
	if c.full > c.n {
		c.bed.t.Errorf("%s, %s: %d full handshakes, want one a client at most", c.Name, c.Client, c.full)
	}
	c.Report(c.bed.t)
}

func (c *crowd) stopping() bool {
	select {
	case <-c.bed.stopping:
		return true
	default:
		return false
	}
}

func (c *crowd) count(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Sent++
	if err != nil {
		c.failed = append(c.failed, err)
	}
}

// flows waits until n calls or messages more have come through.
func (c *crowd) flows(n int) {
	c.bed.t.Helper()
	sent := func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.Sent }
	from := sent()
	flow.Eventually(c.bed.t, fmt.Sprintf("%s, %s: %d more than %d", c.Name, c.Client, n, from),
		func() bool { return sent() >= from+n })
}

// over tells whether the client has found nobody: what it was about to send
// never left it.
func (c *crowd) over(err error) bool {
	return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "connection refused") && c.stopping()
}

// dial returns a channel that retries nothing, but what grpc-go itself begins
// anew whatever it is told.
func (c *crowd) dial() *grpc.ClientConn {
	creds := c.creds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	cc, err := grpc.NewClient("passthrough:///"+c.bed.Addr, grpc.WithTransportCredentials(creds),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithStatsHandler(observer{c}))
	if err != nil {
		panic(err) // a wrong option
	}
	return cc
}

// observer counts what a channel sees.
type observer struct{ *crowd }

func (o observer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (o observer) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }

func (o observer) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ended := event.(*stats.ConnEnd); ended && !o.stopping() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.Closed++
	}
}

func (o observer) HandleRPC(_ context.Context, event stats.RPCStats) {
	if begin, ok := event.(*stats.Begin); ok && begin.IsTransparentRetryAttempt {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.retried++
	}
}

func think() { time.Sleep(rand.N(20 * time.Millisecond)) }

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), flow.Patience)
}
