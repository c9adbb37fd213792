// Command faulty is a version of examples/gin and examples/nethttp that goes wrong on purpose, for
// the tour and the tests: a swap to it must fail, and leave the running one serving.
//
//	go build -ldflags "-X main.fault=crash" ./internal/faulty
//
// It takes the flags of both, and answers only /whoami, and what the library does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// Each build has a version and a fault: go build -ldflags "-X main.version=v2 -X main.fault=hang".
var (
	version = "dev"
	fault   string
)

const (
	crash     = "crash"     // exits with 3 at once
	probation = "probation" // exits with 3 while on probation
	hang      = "hang"      // never gets ready
	check     = "check"     // fails its own self-check
)

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	_    = flag.String("cert", "", "not used: it never serves where a certificate is given")
	_    = flag.String("key", "", "not used")
	_    = flag.Bool("h2c", false, "not used")
	_    = flag.String("page", "", "not used")
	_    = flag.String("unix", "", "not used")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))
	if err := spoil(&cfg); err != nil {
		return err
	}
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, _ *http.Request) {
		st := svc.Status()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"version": version, "pid": st.PID, "generation": st.Generation, "phase": st.Phase,
		})
	})
	svc.Serve(ln, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

// spoil builds the fault in.
func spoil(cfg *drain.Config) error {
	switch fault {
	case crash:
		os.Exit(3)
	case probation:
		in := min(200*time.Millisecond, cfg.Probation/2) // within the probation, however short it is
		var once sync.Once
		cfg.OnEvent = func(e drain.Event) {
			if e.Phase == "probation" && e.Generation > 1 {
				once.Do(func() { time.AfterFunc(in, func() { os.Exit(3) }) })
			}
		}
	case hang:
		cfg.Ready = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
	case check:
		cfg.Check = func(context.Context, *http.Client) error { return errors.New("built with -X main.fault=check") }
	default:
		return fmt.Errorf("-X main.fault=%s: want %s, %s, %s or %s", fault, crash, probation, hang, check)
	}
	return nil
}
