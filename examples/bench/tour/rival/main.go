// Command rival is the same small service as examples/gin on tableflip alone, used as tableflip's own
// http_example_test.go uses it: Upgrade on SIGHUP, Ready, <-Exit, server.Shutdown. The tour runs it under the same
// load, so that its figures are measured beside ours and never quoted.
//
// What that example does not have is marked "added": the routes, the generation's number, and an orderly SIGTERM,
// without which a Go process dies at once and the comparison would be unfair.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/gin-gonic/gin"
)

// version is set with -ldflags "-X main.version=…", so that a swap really brings another file.
var version = "dev"

// generationVar carries the generation's number to the child; tableflip has no word for it.
const generationVar = "RIVAL_GENERATION"

func main() {
	var (
		listenAddr = flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
		pidFile    = flag.String("pidfile", "", "`path` of the PID file")
	)
	flag.Parse()
	log.SetPrefix(fmt.Sprintf("%d ", os.Getpid()))

	generation, _ := strconv.Atoi(os.Getenv(generationVar)) // added
	generation++
	os.Setenv(generationVar, strconv.Itoa(generation))

	upg, err := tableflip.New(tableflip.Options{
		PIDFile: *pidFile,
	})
	if err != nil {
		panic(err)
	}
	defer upg.Stop()

	go func() {
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, syscall.SIGHUP)
		for range sig {
			err := upg.Upgrade()
			if err != nil {
				log.Println("Upgrade failed:", err)
			}
		}
	}()

	go func() { // added
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT)
		<-sig
		upg.Stop()
	}()

	ln, err := upg.Listen("tcp", *listenAddr)
	if err != nil {
		log.Fatalln("Can't listen:", err)
	}

	server := http.Server{
		Handler:           routes(generation),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}

	go func() {
		err := server.Serve(ln)
		if !errors.Is(err, http.ErrServerClosed) {
			log.Println("HTTP server:", err)
		}
	}()

	log.Printf("ready, version %s", version)
	if err := upg.Ready(); err != nil {
		panic(err)
	}
	<-upg.Exit()

	time.AfterFunc(30*time.Second, func() {
		log.Println("Graceful shutdown timed out")
		os.Exit(1)
	})

	server.Shutdown(context.Background())
}

// routes are those of examples/gin, on Gin too, so that both sides start and answer alike.
func routes(generation int) http.Handler {
	pid, gen := strconv.Itoa(os.Getpid()), strconv.Itoa(generation)

	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery(), func(c *gin.Context) {
		c.Header("X-Pid", pid)
		c.Header("X-Generation", gen)
	})
	r.GET("/ping", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"code": 0, "message": "success"})
	})
	r.POST("/echo", func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		if err != nil {
			c.String(http.StatusBadRequest, "body: %v\n", err)
			return
		}
		c.Data(http.StatusOK, "application/octet-stream", body)
	})
	r.GET("/slow", func(c *gin.Context) {
		d, err := time.ParseDuration(c.Query("d"))
		if err != nil {
			c.String(http.StatusBadRequest, "d: %v\n", err)
			return
		}
		time.Sleep(d)
		c.String(http.StatusOK, "slept %v\n", d)
	})
	return r
}
