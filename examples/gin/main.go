// Command gin is a small service on Gin that is swapped, pulled and
// stopped without losing a request. Copy it and put in your own routes.
//
//	go build -o app ./gin && ./app -pidfile app.pid
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
	"context"
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
	"github.com/gin-gonic/gin"
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
	h2c := flag.Bool("h2c", false, "serve HTTP/2 without TLS too; the library's paths are there for HTTP/1.1 only")
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
		Handler:           routes(svc, *h2c),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	if *cert == "" && *key == "" {
		svc.Serve(ln, srv)
	} else if err := svc.ServeTLS(ln, srv, *cert, *key); err != nil {
		return fmt.Errorf("-cert, -key: %w", err)
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
func routes(svc *drain.Service, h2c bool) http.Handler {
	// Neither changes while the process lives.
	pid, generation := strconv.Itoa(os.Getpid()), strconv.Itoa(svc.Status().Generation)

	gin.SetMode(gin.ReleaseMode)
	r := gin.New() // no access log: gin.Default() has one
	r.UseH2C = h2c
	r.Use(gin.Recovery(), func(c *gin.Context) {
		c.Header("X-Pid", pid)
		c.Header("X-Generation", generation)
	})
	r.POST("/echo", echo)
	r.GET("/slow", slow)
	r.GET("/whoami", func(c *gin.Context) { c.JSON(http.StatusOK, whoami(svc.Status())) })
	return r.Handler() // r itself knows nothing of UseH2C
}

// whoami is what control.sh goes by: which process is in charge, whether the
// probers have noticed a pull, and how the last swap that it tried has ended.
func whoami(st drain.Status) gin.H {
	who := gin.H{
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
func echo(c *gin.Context) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxEcho))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		c.String(http.StatusRequestEntityTooLarge, "body: at most %d bytes\n", tooLarge.Limit)
		return
	} else if err != nil {
		c.String(http.StatusBadRequest, "body: %v\n", err)
		return
	}
	c.Data(http.StatusOK, "application/octet-stream", body)
}

// slow is the request that is in flight when the operator comes.
func slow(c *gin.Context) {
	d, err := time.ParseDuration(c.DefaultQuery("d", "2s"))
	if err != nil || d < 0 || d > maxSlow {
		c.String(http.StatusBadRequest, "d: want a duration from 0s to %v, as in /slow?d=2s\n", maxSlow)
		return
	}
	select {
	case <-time.After(d):
		c.String(http.StatusOK, "slept %v\n", d)
	case <-c.Request.Context().Done(): // the client has gone
	}
}
