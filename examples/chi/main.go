// Command chi is a small service on chi, with a second port for metrics and pprof, and a test that swaps it under load.
// Any other router that is an http.Handler fits in its place: Echo, gorilla/mux, httprouter.
//
//	go build -o app ./chi && ./app -pidfile app.pid
package main

import (
	"context"
	"flag"
	"io"
	"net/http"
	_ "net/http/pprof" // into http.DefaultServeMux
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

var (
	addr  = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	admin = flag.String("admin", "127.0.0.1:9090", "answer /metrics and /debug/pprof/ on this `host:port`")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	http.Handle("/metrics", svc.MetricsHandler())
	for address, h := range map[string]http.Handler{*addr: routes(), *admin: http.DefaultServeMux} {
		ln, err := svc.Listen("tcp", address)
		if err != nil {
			return err
		}
		svc.Serve(ln, &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second})
	}
	return svc.Run(context.Background())
}

func routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Post("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	r.Get("/hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+chi.URLParam(r, "name"))
	})
	return r
}
