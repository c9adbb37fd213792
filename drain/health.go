package drain

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// Health is what a program may do with the [health.State] of its Service, where each method is described. The handler
// answers as PingPath does, and Live's as LivePath. What begins and ends a pull is the service's: [Service.Pull],
// [Service.Restore] and [Service.Stop]. It may be used from any goroutine, before Run and after it.
type Health interface {
	http.Handler
	// Live returns a handler that answers 200 throughout, pulled or not.
	Live() http.Handler

	// Probed and Watched enter probes by other protocols than HTTP.
	Probed(remote, agent string) (failed func())
	Watched(remote, agent string) (failed, gone func())

	// Arrived and Visited enter what is no probe, by servers of ServeGraceful.
	Arrived()
	Visited(remote string)

	// Pulled tells whether probes fail at present, by a pull.
	Pulled() bool
	// Noticed returns a channel that is closed when the balancers have noticed the present pull; nil while not pulled.
	Noticed() <-chan struct{}
	// Probers returns a copy of the ledger of probers.
	Probers() []health.Prober
}

// mounted is Health, which learns at which paths the program has mounted it.
type mounted struct {
	*health.State

	mu    sync.Mutex              // guards paths
	paths map[any]map[string]bool // by server: one may have for visitors what another has for operators
}

// mostPaths bounds the paths of a server: a route may have a wildcard.
const mostPaths = 16

func (m *mounted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.learn(r)
	m.State.ServeHTTP(w, r)
}

func (m *mounted) Live() http.Handler {
	live := m.State.Live()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.learn(r)
		live.ServeHTTP(w, r)
	})
}

func (m *mounted) learn(r *http.Request) {
	if r.Context().Value(asideKey{}) == nil {
		listener.Aside(r.Context())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	server := serverOf(r)
	if m.paths[server] == nil {
		m.paths[server] = make(map[string]bool)
	}
	if len(m.paths[server]) < mostPaths {
		m.paths[server][asked(r)] = true
	}
}

func (m *mounted) at(r *http.Request) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.paths[serverOf(r)][asked(r)]
}

// serverOf is a key of mounted.paths.
func serverOf(r *http.Request) any { return r.Context().Value(http.ServerContextKey) }

// asideKey is of the context of a request that has been counted aside.
type asideKey struct{}

// asked is the path that a client has asked for, whatever a router has made of r.URL.
func asked(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// healthChanged is what Config.Healthy has begun to say.
func healthChanged(err error) trouble {
	if err != nil {
		return trouble{EventUnhealthy, slog.LevelWarn, "not healthy: PingPath fails", err, nil}
	}
	return trouble{EventHealthy, slog.LevelInfo, "healthy again", nil, nil}
}
