package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/baton-go/baton/drain"
)

// tick is the pace of Count.
const tick = 20 * time.Millisecond

// echo is the service: a call and two kinds of streams. Streams that would go
// on for ever are told when the process is to leave, and what the protocol of
// each makes of that is up to it.
type echo struct {
	svc  *drain.Service
	work time.Duration // what Say takes
}

// Say answers with what it gets, and with the pid.
func (e *echo) Say(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	if e.work > 0 {
		select {
		case <-time.After(e.work):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	err := grpc.SetHeader(ctx, metadata.Pairs("pid", strconv.Itoa(os.Getpid())))
	return in, err
}

// Count sends one number after the other. When it ends without an error, the
// client asks on from the number after the last.
func (e *echo) Count(from *wrapperspb.UInt64Value, stream grpc.ServerStreamingServer[wrapperspb.UInt64Value]) error {
	draining := e.svc.Draining(stream.Context())
	for n := from.Value; ; n++ {
		if err := stream.Send(wrapperspb.UInt64(n)); err != nil {
			return err
		}
		select {
		case <-time.After(tick):
		case <-draining.Done():
			return stream.Context().Err() // nil while the client is there
		}
	}
}

// Talk sends back each message. An empty one says that the process is to leave:
// the client closes its side, has the answers to what it has sent, and talks on
// in another stream.
func (e *echo) Talk(stream grpc.BidiStreamingServer[wrapperspb.StringValue, wrapperspb.StringValue]) error {
	heard, failed := make(chan *wrapperspb.StringValue), make(chan error, 1)
	go func() {
		for {
			in, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case heard <- in:
			case <-stream.Context().Done(): // Talk has returned
				return
			}
		}
	}()
	draining := e.svc.Draining(stream.Context()).Done()
	for {
		out := new(wrapperspb.StringValue)
		select {
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case out = <-heard:
		case <-draining:
			draining = nil // said once
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// echoDesc is what protoc-gen-go-grpc makes of
//
//	service Echo {
//	  rpc Say(google.protobuf.StringValue) returns (google.protobuf.StringValue);
//	  rpc Count(google.protobuf.UInt64Value) returns (stream google.protobuf.UInt64Value);
//	  rpc Talk(stream google.protobuf.StringValue) returns (stream google.protobuf.StringValue);
//	}
//
// written by hand, so that nobody needs protoc to read this example.
var echoDesc = grpc.ServiceDesc{
	ServiceName: "baton.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Say",
		Handler: func(srv any, ctx context.Context, dec func(any) error,
			interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := dec(in); err != nil {
				return nil, err
			}
			say := func(ctx context.Context, in any) (any, error) {
				return srv.(*echo).Say(ctx, in.(*wrapperspb.StringValue))
			}
			if interceptor == nil {
				return say(ctx, in)
			}
			return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: sayMethod}, say)
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName:    "Count",
		ServerStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error {
			from := new(wrapperspb.UInt64Value)
			if err := stream.RecvMsg(from); err != nil {
				return err
			}
			return srv.(*echo).Count(from, &grpc.GenericServerStream[wrapperspb.UInt64Value,
				wrapperspb.UInt64Value]{ServerStream: stream})
		},
	}, {
		StreamName:    "Talk",
		ServerStreams: true,
		ClientStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error {
			return srv.(*echo).Talk(&grpc.GenericServerStream[wrapperspb.StringValue,
				wrapperspb.StringValue]{ServerStream: stream})
		},
	}},
}

const (
	sayMethod   = "/baton.Echo/Say"
	countMethod = "/baton.Echo/Count"
	talkMethod  = "/baton.Echo/Talk"
)
