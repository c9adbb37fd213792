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
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/gin-gonic/gin"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

var (
	addr     = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	handOver = flag.Bool("hand-over", true, "hand WebSockets to the next generation; otherwise each swap closes them")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))

	hall := &hall{handOver: *handOver}
	cfg.Adopt = hall.adopt
	svc, err := drain.New(cfg)
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
