// Command healthz is a service on Gin whose balancer asks /healthz, in each of the ways that work.
//
//	go build -o app ./healthz && ./app -way path
//
// With -way path the library answers /healthz, before Gin. With -way mounted it is a route of Gin's, behind Gin's
// middleware. In both it fails while the service is pulled, and while the check of the program's own does: here, while
// the file of -maintenance is there.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/gin-gonic/gin"
)

var (
	addr        = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	way         = flag.String("way", "path", "how /healthz is answered: path or mounted")
	maintenance = flag.String("maintenance", "", "while there is a `file` of that name, the service is not healthy")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	cfg.Healthy = healthy
	switch *way {
	case "path":
		cfg.PingPath = "/healthz"
	case "mounted":
		cfg.PingPath = "-" // one route is enough
	default:
		return fmt.Errorf("-way %s: want path or mounted", *way)
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery(), func(c *gin.Context) { c.Header("X-Middleware", "gin") })
	if *way == "mounted" {
		r.Match([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, "/healthz", gin.WrapH(svc.Health()))
	}
	r.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "hello\n") })
	svc.Serve(ln, &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

// healthy is what readiness is here; in yours it may be db.PingContext. It has a second.
func healthy(context.Context) error {
	if *maintenance == "" {
		return nil
	}
	if _, err := os.Stat(*maintenance); err == nil {
		return fmt.Errorf("%s is there", *maintenance)
	}
	return nil
}
