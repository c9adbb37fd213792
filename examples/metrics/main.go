// Command metrics is a service whose sessions outlive swaps, and whose
// /metrics says of each generation what it still has: with the metrics of
// Prometheus' client library beside those of the service.
//
//	go build -o app ./metrics && ./app -pidfile app.pid -control app.sock
//	curl --no-buffer -H 'Connection: Upgrade' -H 'Upgrade: lines' http://127.0.0.1:8080/session
//
// A session stays with the generation it began in, for up to -drain-timeout
// after the swap that ended that one. Each swap adds a process; where they
// would be more than -max-generations, the oldest is told to leave within 5s,
// sessions or not. So allow for the swaps of one -drain-timeout.
//
// What Prometheus scrapes is what the main generation knows of all: it reaches
// that one with each new connection. -s metrics prints the same, for
// node_exporter's textfile collector. The service's own counter goes on over
// swaps, too; what the client library counts by itself begins at 0 in each
// generation. A service without that library mounts svc.MetricsHandler(), as
// chi does.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var (
	addr  = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	admin = flag.String("admin", "", "answer /metrics on this `host:port`, and not on that of -addr")
)

var version = "dev"

var counted drain.Counters

func main() {
	drainflag.Main("APP_", drain.Config{DrainTimeout: time.Hour, MaxGenerations: 8}, run)
}

func run(cfg drain.Config) error {
	cfg.Version = version
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	if err := svc.Own("counters", &counted); err != nil {
		return err
	}
	generation := svc.Status().Generation
	public := http.NewServeMux()
	public.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	public.HandleFunc("GET /session", func(w http.ResponseWriter, _ *http.Request) {
		counted.Add("sessions_total", 1)
		if err := session(w, generation); err != nil {
			log.Printf("session: %v", err)
		}
	})
	ports := map[string]http.Handler{*addr: public}
	if *admin == "" || *admin == *addr {
		public.Handle("GET /metrics", svc.Aside(metrics(svc)))
	} else {
		ports[*admin] = svc.Aside(metrics(svc))
	}
	for address, h := range ports {
		ln, err := svc.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("-addr, -admin: %s: %w", address, err)
		}
		svc.Serve(ln, &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second})
	}
	return svc.Run(context.Background())
}

// metrics answers with those of the client library and those of the service, compressed where the scraper takes that.
func metrics(svc *drain.Service) http.Handler {
	own := prometheus.NewRegistry() // or prometheus.DefaultRegisterer, with the runtime's
	own.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sessions_total", Help: "Sessions that have begun.",
	}, func() float64 { return counted.Value("sessions_total") }))
	service := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		var text bytes.Buffer
		if err := svc.Status().WriteMetrics(&text); err != nil {
			return nil, err
		}
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(&text)
		return slices.Collect(maps.Values(families)), err
	})
	return promhttp.HandlerFor(prometheus.Gatherers{own, service}, promhttp.HandlerOpts{})
}

// session answers each line with the generation and the line, until the client
// goes. Whoever hijacks a connection need not do anything for it to be waited
// for, but close it.
func session(w http.ResponseWriter, generation int) error {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n"
	if _, err := io.WriteString(conn, switching); err != nil {
		return err
	}
	lines := bufio.NewScanner(rw)
	for lines.Scan() {
		if _, err := fmt.Fprintln(conn, generation, lines.Text()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
