// Command consul is a small service that stands in Consul's catalog: it
// registers when it is ready, is in maintenance mode while it is pulled, and is
// deregistered when it is over. A swap changes nothing there.
//
//	go build -o app ./deploy/consul && ./app -addr 10.0.0.7:8080 -pidfile app.pid
//
// Swap, pull, restore and stop it as examples/nethttp.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

var (
	addr     = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`, and register it")
	name     = flag.String("service", "web", "the service's `name` in the catalog")
	interval = flag.Duration("check-interval", 2*time.Second, "how often Consul asks /ping")
	expire   = flag.Duration("deregister-after", time.Hour,
		"how long after a crash Consul forgets this node; a minute or more")
)

func main() { drainflag.Main("APP_", drain.Config{Version: version}, run) }

func run(cfg drain.Config) error {
	entry, err := newEntry(*name, *addr, *interval, *expire)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	cfg.Join, cfg.Leave, cfg.Gone = entry.register, entry.maintain, entry.deregister
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	svc.Serve(ln, &http.Server{
		Handler:           routes(svc),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	})
	return svc.Run(context.Background())
}

// routes are the service's own; the library adds /ping and /livez.
func routes(svc *drain.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(body)
	})
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		st := svc.Status()
		who := map[string]any{"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(who)
	})
	pid := strconv.Itoa(os.Getpid())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pid", pid)
		mux.ServeHTTP(w, r)
	})
}
