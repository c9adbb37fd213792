package drain

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/forward"
	"github.com/baton-go/baton/drain/internal/gate"
	"github.com/baton-go/baton/health"
)

// A balancer that has noticed a pull sends requests on the connections that it has. Those of an older generation bring
// theirs by that one, and are as old.
func TestRequestsOfOlderGenerationsAreNoArrivals(t *testing.T) {
	t.Parallel()
	for forwarded, want := range map[bool]health.Outcome{true: health.Noticed, false: health.Overdue} {
		synctest.Test(t, func(t *testing.T) {
			state, err := health.New(health.Config{})
			if err != nil {
				t.Fatal(err)
			}
			s := &Service{cfg: Config{PingPath: "/ping"}, health: state, mounted: &mounted{},
				servers: &servers{gate: gate.New(nil)}}
			h := s.withHealthPaths(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			near, far := net.Pipe()
			defer near.Close()
			target := func(*forward.About, net.Conn) (http.Handler, func(context.Context) context.Context) {
				return h, func(ctx context.Context) context.Context { return ctx }
			}
			forward.Accept(t.Context(), far, target, func(f func()) { go f() }, func(err error) { t.Error(err) })
			visitors := h
			if forwarded {
				visitors = &forward.Proxy{
					Dial:     func() (net.Conn, error) { return near, nil },
					Listener: func(context.Context) string { return "" },
					Failed:   func(err error) { t.Error(err) },
				}
			}
			for n := 0; n < 4 || !isClosed(state.Noticed()); n++ {
				if n == 4 {
					state.Pull()
				}
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/ping", nil))
				for range 2 {
					visitors.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
					time.Sleep(time.Second / 2)
				}
			}
			if got := state.Outcome(); got != want {
				t.Errorf("forwarded: %v; the pull ends as %q, want %q", forwarded, got, want)
			}
		})
	}
}

// A server may serve on several listeners, and tell requests apart by them. The next generation need not have them all.
func TestRequestsOfOlderGenerationsKeepTheirListener(t *testing.T) {
	t.Parallel()
	type key struct{}
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	one, two, other := listen(), listen(), listen()
	generation := func(h http.Handler, lns ...net.Listener) *Service {
		s := &Service{}
		s.servers = newServers(nil)
		s.servers.service = s
		srv := &http.Server{Handler: h, BaseContext: func(ln net.Listener) context.Context {
			return context.WithValue(context.Background(), key{}, ln)
		}}
		s.servers.keepContexts(srv)
		s.injectService(srv)
		for _, ln := range lns {
			s.servers.add(server{srv, ln, nil})
		}
		s.servers.add(server{new(http.Server), other, nil})
		return s
	}
	before := func(next *Service) http.Handler {
		near, far := net.Pipe()
		forward.Accept(t.Context(), far, next.servers.target, func(f func()) { go f() },
			func(err error) { t.Error(err) })
		return &forward.Proxy{
			Dial:     func() (net.Conn, error) { return near, nil },
			Listener: listenerOf,
			Failed:   func(err error) { t.Error(err) },
		}
	}
	third := generation(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(key{}) == any(two) {
			w.WriteHeader(http.StatusNoContent)
		}
	}), two)
	second := generation(before(third), one, two)
	first := generation(before(second), one, two)
	for _, srv := range first.servers.list()[:2] {
		go func() { _ = srv.Serve(srv.ln) }()
	}
	for ln, want := range map[net.Listener]int{two: http.StatusNoContent, one: http.StatusServiceUnavailable} {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s, want %d", resp.Status, want)
		}
	}
	_ = first.servers.list()[0].Close()
}
