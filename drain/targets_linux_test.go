package drain

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/machine"
)

// A request that an older generation has read gets the context that one of this generation's own
// clients has, also where a framework sets ConnContext after Track, as it may.
func TestForwardedRequestsHaveTheContextOfTheServer(t *testing.T) {
	t.Parallel()
	type base struct{}
	type early struct{}
	type late struct{}
	with := func(key any) func(context.Context, net.Conn) context.Context {
		return func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key, "mine") }
	}
	for name, keys := range map[string][]any{"set before": {base{}, early{}}, "set after": {base{}, late{}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ln := alone(t, machine.Ready)
			defer s.endTest()
			seen := make(chan context.Context, 1)
			srv := &http.Server{
				Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Context() }),
				BaseContext: func(net.Listener) context.Context {
					return context.WithValue(t.Context(), base{}, "mine")
				},
				ConnContext: with(early{}),
			}
			s.Track(srv)
			if name == "set after" {
				srv.ConnContext = with(late{})
			}
			go func() { _ = srv.Serve(ln) }()
			nc, err := net.Dial("unix", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, "GET / HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			own := <-seen
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			_, contextOf := s.servers.target(&forward.About{Listener: nameOf(ln)}, far)
			forwarded := contextOf(context.Background())
			for _, key := range []any{base{}, early{}, late{}, http.ServerContextKey, serviceKey{}} {
				if a, b := own.Value(key), forwarded.Value(key); a != b {
					t.Errorf("%T: %v of a client of this generation, %v of a forwarded request", key, a, b)
				}
			}
			for _, key := range keys {
				if own.Value(key) != "mine" {
					t.Errorf("%T is not set", key)
				}
			}
		})
	}
}
