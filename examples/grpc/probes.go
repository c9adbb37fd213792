package main

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/baton-go/baton/drain"
)

// probes tells the ledger of probers who asks gRPC's health service and what
// they were told, so that a pull waits for them. It is a stats.Handler since
// that learns when an answer has been written, and of connections.
type probes struct{ state drain.Health }

type (
	connKey  struct{}
	probeKey struct{}
)

// conn is a connection of a client.
type conn struct {
	remote  string
	visited atomic.Bool // has brought a call that is no probe
}

// probe is a Check or a Watch.
type probe struct {
	watch        bool
	well         bool // what was answered last
	failed, gone func()
	begin        func() (failed, gone func()) // of a watch: is told for the first time that all is well
}

// TagConn implements stats.Handler.
func (p probes) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, connKey{}, &conn{remote: info.RemoteAddr.String()})
}

// HandleConn implements stats.Handler.
func (p probes) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC implements stats.Handler.
func (p probes) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	c := ctx.Value(connKey{}).(*conn)
	agent := strings.Join(metadata.ValueFromIncomingContext(ctx, "user-agent"), " ")
	switch info.FullMethodName {
	case grpc_health_v1.Health_Check_FullMethodName:
		return context.WithValue(ctx, probeKey{}, &probe{failed: p.state.Probed(c.remote, agent)})
	case grpc_health_v1.Health_Watch_FullMethodName:
		return context.WithValue(ctx, probeKey{}, &probe{watch: true, begin: func() (failed, gone func()) {
			return p.state.Watched(c.remote, agent)
		}})
	case grpc_health_v1.Health_List_FullMethodName:
		return ctx
	}
	if !c.visited.Swap(true) {
		p.state.Arrived() // somebody still sends traffic here
	}
	return ctx
}

// HandleRPC implements stats.Handler. The events of one call come one by one.
func (p probes) HandleRPC(ctx context.Context, event stats.RPCStats) {
	pr, ok := ctx.Value(probeKey{}).(*probe)
	if !ok {
		return
	}
	switch event := event.(type) {
	case *stats.OutPayload:
		res, ok := event.Payload.(*grpc_health_v1.HealthCheckResponse)
		pr.well = ok && res.Status == grpc_health_v1.HealthCheckResponse_SERVING
		switch {
		case !pr.watch:
		case pr.well && pr.failed == nil:
			pr.failed, pr.gone = pr.begin()
		case !pr.well && pr.failed != nil:
			pr.failed()
		}
	case *stats.End:
		switch {
		case !pr.watch && !pr.well:
			pr.failed()
		case pr.gone != nil:
			pr.gone()
		}
	}
}

// endWatches ends each Watch of the health service that is still there when
// its client has had a GOAWAY for long: the connection would stay open for it.
// Earlier would be an outage for clients that heed it: they take the end of
// the watch, on a connection that they use, for a failure.
func endWatches(svc *drain.Service, after time.Duration) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if info.FullMethod == grpc_health_v1.Health_Watch_FullMethodName {
			ctx, cancel := context.WithCancel(stream.Context())
			defer cancel()
			context.AfterFunc(svc.Draining(ctx), func() { time.AfterFunc(after, cancel) })
			stream = watch{stream, ctx}
		}
		return handler(srv, stream)
	}
}

type watch struct {
	grpc.ServerStream
	ctx context.Context
}

func (w watch) Context() context.Context { return w.ctx }
