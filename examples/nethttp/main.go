// Command nethttp is a small service on net/http that is swapped, pulled and
// stopped without losing a request. Copy it and put in your own routes.
//
//	go build -o app ./nethttp && ./app -pidfile app.pid
//
// kill -HUP swaps the binary, -USR2 pulls the node out of its load balancer,
// -USR1 puts it back and -TERM stops it. It exits with 0 after a clean stop,
// with 1 otherwise, and with 2 when a flag is wrong.
//
// With -control app.sock, app -control app.sock -s reload does the same as
// -HUP, and so do pull, restore and stop: each returns when it is done, and
// exits with 1 and the reason when the service could not do it.
//
// Each flag but -s can come from the environment: -pull-max as APP_PULL_MAX.
// A flag on the command line counts more.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

const (
	maxEcho = 32 << 20    // bytes that POST /echo takes
	maxSlow = time.Minute // the longest that GET /slow waits
)

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	cert = flag.String("cert", "", "serve TLS with the certificate, and those of its issuers, in this `file`")
	key  = flag.String("key", "", "its private key")
	h2c  = flag.Bool("h2c", false, "serve HTTP/2 without TLS too")
	unix = flag.String("unix", "", "listen on this unix `socket` too, for a proxy on the same machine")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	// Two generations write to the same log: the version tells whose line it is.
	level := slog.LevelInfo
	_ = level.UnmarshalText([]byte(os.Getenv("LOG_LEVEL"))) // debug has each step of a swap
	text := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	slog.SetDefault(slog.New(text).With("version", version))
	cfg.Version = version

	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	srv := &http.Server{
		Handler:           routes(svc),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	if *h2c {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	if *cert == "" && *key == "" {
		svc.Serve(ln, srv)
	} else if err := svc.ServeTLS(ln, srv, *cert, *key); err != nil {
		return fmt.Errorf("-cert, -key: %w", err)
	}
	if *unix != "" {
		if ln, err = svc.Listen("unix", *unix); err != nil {
			return fmt.Errorf("-unix %s: %w", *unix, err)
		}
		svc.Serve(ln, &http.Server{Handler: routes(svc), ReadHeaderTimeout: srv.ReadHeaderTimeout,
			IdleTimeout: srv.IdleTimeout})
	}
	return svc.Run(context.Background())
}

// routes are the service's own; the library adds /ping and /livez.
func routes(svc *drain.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", echo)
	mux.HandleFunc("GET /slow", slow)
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(whoami(svc.Status()))
	})

	// Neither changes while the process lives.
	pid, generation := strconv.Itoa(os.Getpid()), strconv.Itoa(svc.Status().Generation)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pid", pid)
		w.Header().Set("X-Generation", generation)
		mux.ServeHTTP(w, r)
	})
}

// whoami tells scripts, and people, which version answers.
func whoami(st drain.Status) map[string]any {
	return map[string]any{"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase}
}

// echo reads the whole body first: net/http may close the connection of a
// handler that answers while the client is still sending.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEcho))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("body: at most %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(body)
}

// slow is the request that is in flight when the operator comes.
func slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(cmp.Or(r.FormValue("d"), "2s"))
	if err != nil || d < 0 || d > maxSlow {
		http.Error(w, fmt.Sprintf("d: want a duration from 0s to %v, as in /slow?d=2s", maxSlow), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(d):
		fmt.Fprintf(w, "slept %v\n", d)
	case <-r.Context().Done(): // the client has gone
	}
}
