package drain

import (
	"log/slog"
	"net/http"

	"github.com/baton-go/baton/health"
)

// Health is what a program may do with the [health.State] of its Service, where each method is described. The handler
// answers as PingPath does, and Live's as LivePath. What begins and ends a pull is the service's: [Service.Pull],
// [Service.Restore] and [Service.Stop]. It may be used from any goroutine, before Run and after it.
type Health interface {
	http.Handler
	Live() http.Handler

	// Probed and Watched enter probes by other protocols than HTTP.
	Probed(remote, agent string) (failed func())
	Watched(remote, agent string) (failed, gone func())

	// Arrived and Visited enter what is no probe, by servers that AddGraceful has.
	Arrived()
	Visited(remote string)

	Pulled() bool
	Noticed() <-chan struct{}
	Probers() []health.Prober
}

// Health returns what probers see of s.
func (s *Service) Health() Health { return s.health }

// healthChanged tells of Config.Healthy.
func (s *Service) healthChanged(err error) {
	if err != nil {
		s.run.post(trouble{slog.LevelWarn, "not healthy: PingPath fails", err, nil})
	} else {
		s.run.post(trouble{slog.LevelInfo, "healthy again", nil, nil})
	}
}
