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
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

const (
	maxEcho = 32 << 20    // bytes that POST /echo takes
	maxSlow = time.Minute // the longest that GET /slow waits
)

// flagNames: the library names the field of its Config that is wrong, but who
// reads that has set a flag.
var flagNames = strings.NewReplacer(
	"Config.PIDFile", "-pidfile",
	"Config.ControlSocket", "-control",
	"Config.HeartbeatAddress", "-heartbeat",
	"Config.AgentAddress", "-agent",
	"Config.Probation", "-probation",
	"Config.SwapTimeout", "-swap-timeout",
	"Config.PullMin", "-pull-min",
	"Config.PullMax", "-pull-max",
	"Config.Failures", "-failures",
	"Config.DrainTimeout", "-drain-timeout",
	"Config.IdleGrace", "-idle-grace",
)

func main() {
	if err := run(); err != nil {
		slog.Error("exiting", "err", flagNames.Replace(err.Error()))
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	cert := flag.String("cert", "", "serve TLS with the certificate, and those of its issuers, in this `file`")
	key := flag.String("key", "", "its private key")
	h2c := flag.Bool("h2c", false, "serve HTTP/2 without TLS too")
	unix := flag.String("unix", "", "listen on this unix `socket` too, for a proxy on the same machine")
	pidFile := flag.String("pidfile", "", "keep the pid of the process in charge in this `file`")
	control := flag.String("control", "", "take commands on this unix `socket`; with -s, send one to it")
	command := flag.String("s", "", "send this `command` to the running service and exit: reload, pull, restore, stop, status or metrics")
	heartbeat := flag.String("heartbeat", "",
		"for balancers that only connect: a `host:port` that is open while this node is to get traffic")
	agent := flag.String("agent", "", "answer HAProxy's agent-check on this `host:port`")
	probation := flag.Duration("probation", time.Second, "how long a new generation must live before it takes over")
	swapTimeout := flag.Duration("swap-timeout", time.Minute, "how long a swap may take, start and probation included")
	pullMin := flag.Duration("pull-min", 0, "the least time that a pull takes, for balancers that learn of it late")
	pullMax := flag.Duration("pull-max", 30*time.Second, "how long a pull waits for the probers to notice")
	failures := flag.Int("failures", 3, "after how many failing probes the balancer takes a node out")
	drainTimeout := flag.Duration("drain-timeout", 30*time.Second, "how long a stop waits for requests in flight")
	idleGrace := flag.Duration("idle-grace", 0,
		"how long an idle connection that can't be handed over is left to its client (default 5s, in a stop 1s)")
	flag.VisitAll(fromEnv)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: leave it out, or see -help", flag.Arg(0))
	}

	if *command != "" {
		return send(*control, *command)
	}

	// Two generations write to the same log: the version tells whose line it is.
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	svc, err := drain.New(broken(drain.Config{
		PIDFile:          *pidFile,
		ControlSocket:    *control,
		HeartbeatAddress: *heartbeat,
		AgentAddress:     *agent,
		Probation:        *probation,
		SwapTimeout:      *swapTimeout,
		PullMin:          *pullMin,
		PullMax:          *pullMax,
		Failures:         *failures,
		DrainTimeout:     *drainTimeout,
		IdleGrace:        *idleGrace,
	}))
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

// fromEnv lets one binary go through several environments. It leaves -s out:
// that is no setting, and a service that finds it in its environment would not start.
func fromEnv(f *flag.Flag) {
	name := "APP_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	value := os.Getenv(name)
	if value == "" || f.Name == "s" {
		return
	}
	if err := f.Value.Set(value); err != nil {
		fmt.Fprintf(flag.CommandLine.Output(), "%s is %q, and -%s cannot be that: %v\n", name, value, f.Name, err)
		os.Exit(2)
	}
}

// send tells the running service what to do and returns when that is done.
func send(socket, command string) error {
	if socket == "" {
		return errors.New("-s needs -control, the socket of the running service")
	}
	status, err := drain.Control(context.Background(), socket, command)
	if err == nil && (command == "status" || command == "metrics") {
		_, err = os.Stdout.Write(status)
	}
	return err
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

// whoami is what control.sh goes by: which process is in charge, whether the
// probers have noticed a pull, and how the last swap that it tried has ended.
func whoami(st drain.Status) map[string]any {
	who := map[string]any{
		"version":    version,
		"pid":        st.PID,
		"generation": st.Generation,
		"phase":      st.Phase,
		"noticed":    st.Noticed,
	}
	if last := st.LastSwap; last != nil {
		who["swap_at"], who["swap_error"] = last.At, last.Err
	}
	return who
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
