package drain

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// Swap starts the binary of this process again and lets it take over, and returns nil when it has. Otherwise the error
// has the reason, and this generation serves on as if nothing had happened. The end of ctx ends the waiting, not the
// swap. Before the service is ready, and while another swap is under way, Swap returns a RefusedError; a signal to swap
// waits instead.
func (s *Service) Swap(ctx context.Context) error {
	reply := make(chan error, 1)
	if !s.run.post(swapAsked(reply)) {
		return ErrStopped
	}
	var over error
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		over = ctx.Err()
	case <-s.run.ended:
		over = ErrStopped
	}
	select {
	case err := <-reply: // both at once
		return err
	default:
		return over
	}
}

// Pull makes the ping path answer Config.PingStatus, so that balancers take the node out. It returns nil when their
// probers have noticed: each has had Config.Failures failing answers, and no visitor comes any more. When
// Config.PullMax is over, it returns nil in any case. Pulling a pulled service waits only. Everything is served as
// before.
func (s *Service) Pull(ctx context.Context) error {
	asked := make(pullAsked, 1)
	if !s.run.post(asked) {
		return ErrStopped
	}
	p := <-asked
	if p.err != nil {
		return p.err
	}
	select {
	case <-p.noticed:
		return nil
	case <-p.over:
		return akin(errors.New("drain: pull: the service was restored before the probers had noticed"), ErrRestored)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.run.ended:
		return ErrStopped
	}
}

// Restore makes the ping path answer 200 again. It is an error when the service is stopping, or has been replaced.
func (s *Service) Restore(context.Context) error {
	asked := make(restoreAsked, 1)
	if !s.run.post(asked) {
		return ErrStopped
	}
	return <-asked
}

// Stop stops the service as SIGTERM does, and returns what Run returns, when it does: in the main
// generation, when older ones are gone too. The end of ctx ends the waiting, not the stop. It waits
// for OnEvent and the last log lines, too, for half a second at most.
func (s *Service) Stop(ctx context.Context) error {
	err := s.stop(ctx)
	if isClosed(s.run.ended) {
		select {
		case <-s.run.over:
		case <-ctx.Done():
		case <-time.After(lastWords / 2): // perhaps OnEvent waits for this, and is waited for
		}
	}
	return err
}

func (s *Service) stop(ctx context.Context) error {
	s.run.post(machine.Asked{Verb: machine.Stop})
	select {
	case <-s.run.ended:
		return s.run.state.Result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status returns what the service is doing.
func (s *Service) Status() Status {
	asked := make(statusAsked, 1)
	if s.run.post(asked) {
		return <-asked
	}
	return s.run.status() // the loop is over and owns nothing any more
}

// MetricsHandler answers GET and HEAD with the metrics that [Status.WriteMetrics] lists, on any path, for Prometheus to
// scrape; any other method with 405. Mount it where operators reach it and the public does not: on a listener of its
// own, by Listen and Serve, or in a router. A scrape in a swap is answered by the old generation or the new one, as all
// requests are, and counters go on in it. None falls for a scraper that keeps its connection, as Prometheus does. On a
// new one each time, the old generation may answer once after the new one has. It is Aside. Compression and access
// control are the program's.
func (s *Service) MetricsHandler() http.Handler {
	return s.Aside(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "drain: metrics are for GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		serveMetrics(w, s.Status())
	}))
}

// Health returns what probers see of s. It is a handler to mount in a router of the program's own, such as
// gin.WrapH(svc.Health()): what asks it there is a prober, and no visitor.
func (s *Service) Health() Health { return s.mounted }

// Aside returns h for what operators and their tools ask for, such as a status page or metrics. A pull and a stop do
// not wait until such requests have ended. From the second request for a path on, they do not count as visitors. The
// Status counts them apart. H should have 16 paths at most on one server, with those of Health.
func (s *Service) Aside(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mounted.learn(r)
		*r = *r.WithContext(context.WithValue(r.Context(), asideKey{}, true)) // not a copy: routers write into r
		h.ServeHTTP(w, r)
	})
}
