//go:build linux

package main

import (
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func kind(name, client string) flow.Kind {
	return flow.Kind{Name: name, Client: client, Resumed: -1}
}

// TestKinds has all at once.
func TestKinds(t *testing.T) {
	t.Parallel()
	newBed(t, "-work", "5ms").run(
		&crowd{n: 3, Kind: kind("gRPC, unary", "grpc-go, no retries"), client: unary},
		&crowd{n: 1, Kind: kind("gRPC, unary", "grpc-go, 4 callers a connection, no retries"), client: together},
		&crowd{n: 1, Kind: kind("gRPC, unary", "plain HTTP/2, 4 callers a connection, nothing is begun anew"),
			client: rawly},
		&crowd{n: 2, Kind: kind("gRPC, server stream", "grpc-go, asks on when told"), client: counting},
		&crowd{n: 2, Kind: kind("gRPC, bidirectional stream", "grpc-go, talks on when told"), client: talking},
	)
}
