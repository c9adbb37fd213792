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
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/baton-go/baton/drain/statuspage"
	"github.com/gin-gonic/gin"
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
	page = flag.String("page", "",
		"serve the status page on this `host:port`, with buttons for those who come from this machine")
	h2c = flag.Bool("h2c", false, "serve HTTP/2 without TLS too; the library's paths are there for HTTP/1.1 only")
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
	if *cert == "" && *key == "" {
		svc.Serve(ln, srv)
	} else if err := svc.ServeTLS(ln, srv, *cert, *key); err != nil {
		return fmt.Errorf("-cert, -key: %w", err)
	}
	if *page != "" { // a port of its own, which the balancer does not know
		if ln, err = svc.Listen("tcp", *page); err != nil {
			return fmt.Errorf("-page %s: %w", *page, err)
		}
		h := statuspage.New(svc, statuspage.Options{Allow: fromHere})
		svc.Serve(ln, &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute})
	}
	return svc.Run(context.Background())
}

// fromHere is who may swap, pull and stop by the page. Behind a proxy on this machine that would be everybody.
func fromHere(r *http.Request, _ statuspage.Action) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().IsLoopback()
}

// routes are the service's own; the library adds /ping and /livez.
func routes(svc *drain.Service) http.Handler {
	// Neither changes while the process lives.
	pid, generation := strconv.Itoa(os.Getpid()), strconv.Itoa(svc.Status().Generation)

	gin.SetMode(gin.ReleaseMode)
	r := gin.New() // no access log: gin.Default() has one
	r.UseH2C = *h2c
	r.Use(gin.Recovery(), func(c *gin.Context) {
		c.Header("X-Pid", pid)
		c.Header("X-Generation", generation)
	})
	r.POST("/echo", echo)
	r.GET("/slow", slow)
	r.GET("/whoami", func(c *gin.Context) { c.JSON(http.StatusOK, whoami(svc.Status())) })
	return r.Handler() // r itself knows nothing of UseH2C
}

// whoami tells scripts, and people, which version answers.
func whoami(st drain.Status) gin.H {
	return gin.H{"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase}
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
