// Command consul is a small service that stands in Consul's catalog: it
// registers when it is ready, is in maintenance mode while it is pulled, and is
// deregistered when it is over. A swap changes nothing there.
//
//	go build -o app ./consul && ./app -addr 10.0.0.7:8080 -pidfile app.pid
//
// Swap, pull, restore and stop it as examples/nethttp.
package main

import (
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
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	if err := run(); err != nil {
		slog.Error("exiting", "err", err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`, and register it")
	pidFile := flag.String("pidfile", "", "keep the pid of the process in charge in this `file`")
	control := flag.String("control", "", "take commands on this unix `socket`; with -s, send one to it")
	command := flag.String("s", "", "send this `command` to the running service and exit: reload, pull, restore, stop or status")
	probation := flag.Duration("probation", time.Second, "how long a new generation must live before it takes over")
	pullMax := flag.Duration("pull-max", 30*time.Second, "how long a pull waits for the probers to notice")
	name := flag.String("service", "web", "the service's `name` in the catalog")
	interval := flag.Duration("check-interval", 2*time.Second, "how often Consul asks /ping")
	expire := flag.Duration("deregister-after", time.Hour,
		"how long after a crash Consul forgets this node; a minute or more")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: leave it out, or see -help", flag.Arg(0))
	}

	if *command != "" {
		return send(*control, *command)
	}
	entry, err := newEntry(*name, *addr, *interval, *expire)
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	svc, err := drain.New(drain.Config{
		PIDFile:       *pidFile,
		ControlSocket: *control,
		Probation:     *probation,
		PullMax:       *pullMax,
		Join:          entry.register,
		Leave:         entry.maintain,
		Gone:          entry.deregister,
	})
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

// send tells the running service what to do and returns when that is done.
func send(socket, command string) error {
	if socket == "" {
		return errors.New("-s needs -control, the socket of the running service")
	}
	status, err := drain.Control(context.Background(), socket, command)
	if err == nil && command == "status" {
		_, err = os.Stdout.Write(status)
	}
	return err
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
	// What control.sh goes by.
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		st := svc.Status()
		who := map[string]any{
			"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase, "noticed": st.Noticed,
		}
		if last := st.LastSwap; last != nil {
			who["swap_at"], who["swap_error"] = last.At, last.Err
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(who)
	})
	pid := strconv.Itoa(os.Getpid())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pid", pid)
		mux.ServeHTTP(w, r)
	})
}
