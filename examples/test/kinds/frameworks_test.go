//go:build linux

package kinds

import (
	"math/rand/v2"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func anyWay(c *client) error {
	ways := []func(*client) error{head, chunked, expect, slow, upload, download}
	return ways[rand.IntN(len(ways))](c)
}

// TestFrameworks has the servers of others go through what TestHTTP1 does.
func TestFrameworks(t *testing.T) {
	for _, on := range []string{"echo", "fasthttp", "fiber", "gin", "hertz"} {
		t.Run(on, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, "frameworks", "-on", on, "-idle-grace", "20s")
			kind := func(client string) flow.Kind {
				return flow.Kind{Name: "HTTP/1.1, " + on, Client: client, Resumed: -1}
			}
			crowds := []*crowd{
				{n: 16, Kind: kind("keep-alive, POST"), ask: post},
				{n: 2, Kind: kind("new connection each, POST"), ask: post, fresh: true},
				{n: 16, Kind: kind("all other ways of HTTP/1.1 below"), ask: anyWay},
			}
			b.run(crowds...)
			// hertz makes an answer the last once it does not listen any more.
			if closed := crowds[0].Closed; closed > 0 && on != "hertz" {
				t.Errorf("%d connections closed by swaps, want 0: they are handed over", closed)
			}
		})
	}
}
