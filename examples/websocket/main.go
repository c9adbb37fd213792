// Command websocket is a service on Gin whose WebSockets and event streams
// survive a swap: the sessions stay connected, and no event is missed.
//
//	go build -o app ./websocket && ./app -pidfile app.pid
//
// GET /ws?name=Ann is a WebSocket that answers each message with the name and
// the number of the message in this session: "Ann 7: hello". When the binary
// is swapped (kill -HUP), the session goes on in the new process, with its
// name and its count, on the connection that it has. Where that can't be, as
// in a stop or behind TLS, it is closed with a frame, StatusGoingAway.
//
// GET /events is a stream of server-sent events, one each 20 ms. It ends when
// the process is to leave; browsers come back by themselves, with the number
// of the last event that they have seen.
//
// Signals, -s and the environment are as in examples/gin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/gin-gonic/gin"
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
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	pidFile := flag.String("pidfile", "", "keep the pid of the process in charge in this `file`")
	control := flag.String("control", "", "take commands on this unix `socket`; with -s, send one to it")
	command := flag.String("s", "", "send this `command` to the running service and exit: reload, pull, restore, stop or status")
	probation := flag.Duration("probation", time.Second, "how long a new generation must live before it takes over")
	pullMax := flag.Duration("pull-max", 30*time.Second, "how long a pull waits for the probers to notice")
	idleGrace := flag.Duration("idle-grace", 0,
		"within what time the sessions are told that the process leaves (default 5s, in a stop 1s)")
	drainTimeout := flag.Duration("drain-timeout", 30*time.Second, "how long a stop waits for requests in flight")
	handOver := flag.Bool("hand-over", true, "hand WebSockets to the next generation; otherwise each swap closes them")
	flag.VisitAll(fromEnv)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is no flag: leave it out, or see -help", flag.Arg(0))
	}
	if *command != "" {
		return send(*control, *command)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	hall := &hall{handOver: *handOver}
	svc, err := drain.New(drain.Config{
		PIDFile:       *pidFile,
		ControlSocket: *control,
		Probation:     *probation,
		PullMax:       *pullMax,
		IdleGrace:     *idleGrace,
		DrainTimeout:  *drainTimeout,
		Adopt:         hall.adopt,
	})
	if err != nil {
		return err
	}
	hall.svc = svc
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/ws", hall.enter)
	r.GET("/events", events)
	r.GET("/whoami", func(c *gin.Context) {
		st := svc.Status()
		c.JSON(http.StatusOK, gin.H{"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase})
	})
	svc.Serve(ln, &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	})
	return svc.Run(context.Background())
}

// fromEnv takes -idle-grace from APP_IDLE_GRACE, and so on.
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
	if err == nil && command == "status" {
		_, err = os.Stdout.Write(status)
	}
	return err
}
