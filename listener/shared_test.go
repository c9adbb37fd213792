//go:build linux

package listener

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

// A supervisor keeps the listening socket while the service stops and starts again.
func TestSocketThatOutlivesTheStopAccepts(t *testing.T) {
	one := next(t, nil, &http.Server{})
	two := next(t, one, &http.Server{}) // holds the socket, as a supervisor does
	if err := one.set.Leave(context.Background(), nil, 0); err != nil {
		t.Fatal(err)
	}
	nc, err := net.DialTimeout("tcp", two.ln.Addr().String(), 900*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
}
