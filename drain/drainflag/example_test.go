package drainflag_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// The whole main of a service: "app -addr :80 -control app.sock" runs it, "app -control app.sock -s
// reload" swaps it, and APP_DRAIN_TIMEOUT=2m is a setting.
func ExampleMain() {
	addr := flag.String("addr", ":8080", "listen on this `host:port`")
	drainflag.Main("APP_", drain.Config{}, func(cfg drain.Config) error {
		svc, err := drain.New(cfg)
		if err != nil {
			return err
		}
		ln, err := svc.Listen("tcp", *addr)
		if err != nil {
			return fmt.Errorf("-addr %s: %w", *addr, err)
		}
		svc.Serve(ln, &http.Server{Handler: http.DefaultServeMux})
		return svc.Run(context.Background())
	})
}

// A program with a FlagSet of its own, and a default that is not the library's.
func ExampleAdd() {
	cfg := drain.Config{DrainTimeout: 2 * time.Minute}
	fs := flag.NewFlagSet("app", flag.ContinueOnError)
	flags := drainflag.Add(fs, &cfg)

	os.Setenv("ORDERS_PULL_MAX", "10s")
	os.Setenv("ORDERS_FAILURES", "5")
	if err := flags.Parse("ORDERS_", []string{"-failures", "-5"}); err != nil {
		fmt.Println(err)
		return
	}
	if asked, err := flags.Command(context.Background(), os.Stdout); asked || err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.DrainTimeout, cfg.PullMax, cfg.SwapTimeout)
	_, err := drain.New(cfg)
	fmt.Println(flags.Explain(err))
	// Output:
	// 2m0s 10s 1m0s
	// drain: -failures is -5: use 1 or more, or 0 for 3
}
