//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // lets channels check health
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/baton-go/baton/health"
)

// whom calls once and returns who has answered.
func (c *crowd) whom(cc *grpc.ClientConn) (pid int, err error) {
	ctx, cancel := patience()
	defer cancel()
	var header metadata.MD
	err = cc.Invoke(ctx, sayMethod, wrapperspb.String("who"), new(wrapperspb.StringValue), grpc.Header(&header))
	if err == nil {
		pid, err = strconv.Atoi(header.Get("pid")[0])
	}
	return pid, err
}

// probers waits until the ledger has one line of the kind whose interval is
// known, or needs not be.
func (b *bed) prober(kind string) (p health.Prober) {
	b.t.Helper()
	flow.Eventually(b.t, "a prober of kind "+kind, func() bool {
		for _, p = range b.Status().Probers {
			if p.Kind == kind && (p.Interval > 0 || kind == "watch") {
				return true
			}
		}
		return false
	})
	return p
}

const serving, notServing = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING

// A pull lasts until who asks by Check has had its failing answers, and who
// watches has been told.
func TestAPullIsNoticedByGRPCsProbers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ctx, cancel := context.WithCancel(context.Background())
	dial := func() *grpc.ClientConn {
		cc, err := grpc.NewClient("passthrough:///"+b.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		return cc
	}

	watching := dial()
	defer watching.Close()
	watch, err := grpc_health_v1.NewHealthClient(watching).Watch(ctx, new(grpc_health_v1.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	wantTold := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if res, err := watch.Recv(); err != nil || res.Status != want {
			t.Fatalf("%v, %v; want %v", res, err, want)
		}
	}
	wantTold(serving)

	answers := make(chan grpc_health_v1.HealthCheckResponse_ServingStatus, 10000)
	b.clients.Go(func() {
		defer close(answers)
		for ctx.Err() == nil { // like the kubelet, on a connection each
			cc := dial()
			res, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, new(grpc_health_v1.HealthCheckRequest))
			_ = cc.Close()
			if err != nil && ctx.Err() == nil {
				t.Errorf("probe: %v", err)
			} else if err == nil {
				answers <- res.Status
			}
			time.Sleep(50 * time.Millisecond)
		}
	})

	b.prober("ping")
	b.prober("watch")
	for range 2 {
		b.Control("pull")
		for len(answers) > 0 {
			<-answers
		}
		if p := b.prober("ping"); p.Failures < p.Needs || !p.Noticed {
			t.Errorf("%+v", p)
		}
		if p := b.prober("watch"); p.Failures != 1 || !p.Noticed {
			t.Errorf("%+v", p)
		}
		wantTold(notServing)
		if got := <-answers; got != notServing {
			t.Errorf("a probe is answered %v", got)
		}
		b.Control("restore")
		wantTold(serving)
		flow.Eventually(t, "a probe to be answered well", func() bool { return <-answers == serving })
	}

	// The next generation is told of by a GOAWAY, and knows the prober already.
	b.Swaps(1)
	if p := b.prober("ping"); p.Interval == 0 {
		t.Errorf("%+v", p)
	}
	cancel()
	for range answers {
	}
	b.clients.Wait()
	b.Stop()
}

// Who watches without ever leaving, and who never says a word, hold nothing up
// for long.
func TestAStopIsNotHeldUp(t *testing.T) {
	t.Parallel()
	b := newBed(t, "-handshake", "5s")
	w := &rawClient{crowd: &crowd{bed: b}}
	wire, err := w.connection()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.conn.Close()
	wire.stubborn = true
	ended, err := wire.begin(grpc_health_v1.Health_Watch_FullMethodName, []byte{0, 0, 0, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	b.prober("watch")
	silent, err := dialTCP(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	b.Stop() // with exit code 0, so nothing was cut off
	if err := <-ended; err == nil {
		t.Error("the watch has ended well")
	}
}

func TestPingOnAnotherPort(t *testing.T) {
	t.Parallel()
	addr := flow.Host() + ":9091"
	b := newBed(t, "-ping", addr, "-pull-max", "500ms") // the test is a prober, whose interval is not known
	for _, step := range []struct {
		verb string
		want int
	}{{"pull", 501}, {"restore", 200}} {
		b.Control(step.verb)
		res, err := http.Get("http://" + addr + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != step.want {
			t.Errorf("after %s: %s, want %d", step.verb, res.Status, step.want)
		}
	}
	b.Stop()
}

// balanced is a channel over several nodes that heeds what each says of its
// health.
func (c *crowd) balanced(addrs ...string) *grpc.ClientConn {
	r := manual.NewBuilderWithScheme("nodes")
	var state resolver.State
	for _, addr := range addrs {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
	}
	r.InitialState(state)
	cc, err := grpc.NewClient("nodes:///", grpc.WithResolvers(r),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithDefaultServiceConfig(
			`{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`),
		grpc.WithStatsHandler(observer{c}))
	if err != nil {
		panic(err)
	}
	return cc
}

// Two nodes, one after the other: stopped, and started as another version.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	a, b := newBed(t, "-work", "5ms"), newBed(t, "-work", "5ms")
	const n = 4
	var seen [n]sync.Map // by each client, who has answered
	over := make(chan struct{})
	c := &crowd{bed: a, Kind: flow.Kind{Name: "gRPC, unary"}}
	for i := range seen {
		a.clients.Go(func() {
			cc := c.balanced(a.Addr, b.Addr)
			defer cc.Close()
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				pid, err := c.whom(cc)
				c.count(err)
				seen[i].Store(pid, true)
			}
		})
	}
	// Each client must be back at a node before the other one goes.
	wantReached := func(pid int) {
		t.Helper()
		for i := range seen {
			flow.Eventually(t, fmt.Sprintf("client %d to be answered by %d", i, pid), func() bool {
				_, reached := seen[i].Load(pid)
				return reached
			})
		}
	}
	for range 2 {
		for _, node := range []*bed{a, b} {
			wantReached(node.PID())
			node.Control("pull")
			for _, p := range node.Status().Probers {
				if p.Kind != "watch" || !p.Noticed {
					t.Errorf("%+v", p)
				}
			}
			node.Control("restart")
			wantReached(node.PID())
		}
	}
	close(over)
	a.clients.Wait()
	t.Logf("%d calls, %d lost, %d begun anew by grpc-go itself", c.Sent, len(c.failed), c.retried)
	for _, err := range c.failed {
		t.Error(err)
	}
	a.Stop()
	b.Stop()
}
