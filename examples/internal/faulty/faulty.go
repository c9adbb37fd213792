// Package faulty makes builds of a service that go wrong on purpose, to show
// that a swap to them leaves the old generation serving.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
)

// The faults that a build can have; the zero Fault is none.
const (
	Crash     = "crash"     // exits with 3 at once
	Probation = "probation" // exits with 3 while on probation
	Hang      = "hang"      // never gets ready
	Check     = "check"     // fails its own self-check
)

// Config returns cfg with the fault built in. A name that it does not know is
// the mistake of whoever made the build: Config reports it and exits with 2.
func Config(fault string, cfg drain.Config) drain.Config {
	switch fault {
	case "":
	case Crash:
		os.Exit(3)
	case Probation:
		// Within the probation, however short it is.
		in := 200 * time.Millisecond
		if cfg.Probation > 0 {
			in = min(in, cfg.Probation/2)
		}
		var once sync.Once
		observe := cfg.OnEvent
		cfg.OnEvent = func(e drain.Event) {
			if e.Phase == "probation" && e.Generation > 1 {
				once.Do(func() { time.AfterFunc(in, func() { os.Exit(3) }) })
			}
			if observe != nil {
				observe(e)
			}
		}
	case Hang:
		cfg.Ready = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
	case Check:
		cfg.Check = func(context.Context, *http.Client) error {
			return errors.New("built with -X main.fault=check")
		}
	default:
		fmt.Fprintf(os.Stderr, "-X main.fault=%s: want %s, %s, %s or %s\n", fault, Crash, Probation, Hang, Check)
		os.Exit(2)
	}
	return cfg
}
