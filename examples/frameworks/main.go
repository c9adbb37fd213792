// Command frameworks shows how a framework that runs its own server is swapped
// and stopped without losing a request: fiber, fasthttp, hertz, and the ways in
// which Gin and Echo serve by themselves. Copy the function of yours.
//
//	go build -o app ./frameworks && ./app -on fiber -pidfile app.pid
//
// Signals, -s and the environment are as in examples/gin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	hertzadaptor "github.com/cloudwego/hertz/pkg/common/adaptor"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"github.com/gin-gonic/gin"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/labstack/echo/v4"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

const maxEcho = 32 << 20 // bytes that POST /echo takes

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	on   = flag.String("on", "fiber", "serve on this `framework`: echo, fasthttp, fiber, gin or hertz")
)

var frameworks = map[string]func(*drain.Service, net.Listener){
	"echo": serveEcho, "fasthttp": serveFasthttp, "fiber": serveFiber, "gin": serveGin, "hertz": serveHertz,
}

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	serve := frameworks[*on]
	if serve == nil {
		return fmt.Errorf("-on %s: no such framework", *on)
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	serve(svc, ln)
	return svc.Run(context.Background())
}

// graceful is a drain.GracefulServer of two functions.
type graceful struct {
	serve func(net.Listener) error
	stop  func()
}

func (g graceful) Serve(ln net.Listener) error { return g.serve(ln) }
func (g graceful) GracefulStop()               { g.stop() }

func serveFiber(svc *drain.Service, ln net.Listener) {
	f := fiber.New(fiber.Config{BodyLimit: maxEcho})
	f.Get("/ping", adaptor.HTTPHandler(svc.Health()))
	f.Post("/echo", func(c fiber.Ctx) error { return c.Send(c.Body()) })
	f.Get("/whoami", func(c fiber.Ctx) error { return c.SendString("fiber") })
	svc.ServeGraceful(ln, graceful{
		func(ln net.Listener) error { return f.Listener(ln, fiber.ListenConfig{DisableStartupMessage: true}) },
		func() { _ = f.Shutdown() },
	})
}

func serveFasthttp(svc *drain.Service, ln net.Listener) {
	ping := fasthttpadaptor.NewFastHTTPHandler(svc.Health())
	f := &fasthttp.Server{MaxRequestBodySize: maxEcho, Handler: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/ping":
			ping(ctx)
		case "/echo":
			ctx.SetBody(ctx.PostBody())
		case "/whoami":
			ctx.SetBodyString("fasthttp")
		default:
			ctx.NotFound()
		}
	}}
	svc.ServeGraceful(ln, graceful{f.Serve, func() { _ = f.Shutdown() }})
}

// serveHertz has the transport of hertz that uses net.Conn. Its other one, netpoll, wants the descriptor itself, so
// that nobody can see what happens on a connection.
func serveHertz(svc *drain.Service, ln net.Listener) {
	var h *server.Hertz
	svc.ServeGraceful(ln, graceful{
		func(ln net.Listener) error {
			h = server.New(server.WithListener(ln), server.WithTransport(standard.NewTransporter),
				server.WithMaxRequestBodySize(maxEcho), server.WithDisablePrintRoute(true))
			h.GET("/ping", hertzadaptor.HertzHandler(svc.Health()))
			h.POST("/echo", func(_ context.Context, c *app.RequestContext) {
				body, _ := c.Body()
				c.Data(http.StatusOK, "application/octet-stream", body)
			})
			who := func(_ context.Context, c *app.RequestContext) { c.String(http.StatusOK, "hertz") }
			h.GET("/whoami", who)
			h.HEAD("/whoami", who)
			return h.Run()
		},
		func() { _ = h.Shutdown(context.Background()) },
	})
}

// serveGin lets Gin serve, which gives nobody its http.Server and knows no end. svc.Serve with the engine as Handler is
// better: see examples/gin.
func serveGin(svc *drain.Service, ln net.Listener) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/ping", gin.WrapH(svc.Health()))
	r.POST("/echo", gin.WrapF(echoBody))
	r.HEAD("/whoami", func(c *gin.Context) { c.String(http.StatusOK, "gin") })
	svc.ServeGraceful(ln, graceful{r.RunListener, func() {}})
}

// serveEcho lets Echo serve. It sets its server up in StartServer, so there the service must come first.
func serveEcho(svc *drain.Service, ln net.Listener) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.POST("/echo", echo.WrapHandler(http.HandlerFunc(echoBody)))
	e.HEAD("/whoami", func(c echo.Context) error { return c.String(http.StatusOK, "echo") })
	e.Listener = ln
	svc.Track(e.Server)
	go func() {
		if err := e.StartServer(e.Server); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			_ = svc.Fail(err)
		}
	}()
}

func echoBody(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEcho))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
}
