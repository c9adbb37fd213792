//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/baton-go/baton/examples/internal/visitors"
)

// config is what the flags say. The zero flags are the tour of the README; the others make harder shows of it.
type config struct {
	visitors.Mix

	swaps       int
	every       time.Duration // at least this from one trigger to the next
	seconds     float64       // spreads the swaps over this time instead
	probation   time.Duration
	swapTimeout time.Duration

	rival   bool
	https   bool
	secure  *security       // of the side that speaks TLS
	acts    map[string]bool // swaps, faults, pull
	html    string
	race    bool
	verbose bool
}

const actNames = "swaps,faults,pull"

func parseFlags(args []string, errOut io.Writer) (config, error) {
	var c config
	var think, only string
	fs := flag.NewFlagSet("tour", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.IntVar(&c.Clients, "clients", visitors.Tour.Clients, "keep-alive POST `clients`, which never retry")
	fs.StringVar(&think, "think", "0-20ms", "their think `time`: one duration, or min-max")
	fs.IntVar(&c.Idle, "idle", visitors.Tour.Idle, "further keep-alive `clients` that are idle between requests")
	fs.DurationVar(&c.IdleThink, "idle-think", visitors.Tour.IdleThink, "for `how long` those are idle")
	fs.IntVar(&c.Fresh, "fresh", visitors.Tour.Fresh,
		"new `connections` a second; one in five of them sends only later")
	fs.IntVar(&c.Slow, "slow", visitors.Tour.Slow,
		"2-second `requests` at a time (with -only swaps: 0 unless given)")
	fs.IntVar(&c.Odd, "odd", visitors.Tour.Odd,
		"`clients` of each odd sort: pipelining, a request in two halves, 10 MB up slowly,\n"+
			"10 MB down slowly (with -only swaps: 0 unless given)")
	fs.IntVar(&c.swaps, "swaps", 10, "`number` of swaps")
	fs.DurationVar(&c.every, "every", 800*time.Millisecond, "least `time` from one swap to the next")
	fs.Float64Var(&c.seconds, "seconds", 0, "spread the swaps over so many `seconds`, instead of -every")
	fs.DurationVar(&c.probation, "probation", 250*time.Millisecond, "`probation` of our service's new generations")
	fs.DurationVar(&c.swapTimeout, "swap-timeout", 2*time.Second, "after which our service gives a swap up")
	fs.BoolVar(&c.rival, "rival", true, "run the same load on tableflip's documented way too")
	fs.BoolVar(&c.https, "https", true,
		"swap under the load over HTTPS too, half TLS 1.3, half 1.2 (with -only: false\nunless given)")
	fs.StringVar(&only, "only", actNames, "`acts` to play: a list of swaps, faults, pull")
	fs.StringVar(&c.html, "html", filepath.Join(os.TempDir(), "baton-tour.html"),
		"`file` for the timeline, empty for none")
	fs.BoolVar(&c.race, "race", false, "build the services with the race detector")
	fs.BoolVar(&c.verbose, "v", false, "show what the services log")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	var err error
	if c.ThinkMin, c.ThinkMax, err = parseThink(think); err != nil {
		return c, fmt.Errorf("-think %s: %w", think, err)
	}
	c.acts = map[string]bool{}
	for _, act := range strings.Split(only, ",") {
		if !strings.Contains(","+actNames+",", ","+act+",") {
			return c, fmt.Errorf("-only %s: there are the acts %s", only, actNames)
		}
		c.acts[act] = true
	}
	c.rival = c.rival && c.acts["swaps"] // it has no other act
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	c.https = c.https && c.acts["swaps"] && (given["https"] || !given["only"])
	if len(c.acts) == 1 && c.acts["swaps"] {
		// Alone, a swap shows how soon the old process is gone; a 2-second request would hide that.
		if !given["slow"] {
			c.Slow = 0
		}
		if !given["odd"] {
			c.Odd = 0
		}
	}
	for _, n := range []int{c.Clients, c.Idle, c.Fresh, c.Slow, c.Odd} {
		if n < 0 {
			return c, errors.New("a number of clients is negative")
		}
	}
	if c.Clients == 0 {
		return c, errors.New("-clients must be at least 1")
	}
	if c.acts["swaps"] && c.swaps < 1 {
		return c, errors.New("-swaps must be at least 1")
	}
	if c.seconds > 0 {
		c.every = time.Duration(c.seconds / float64(c.swaps) * float64(time.Second))
	}
	return c, nil
}

// parseThink reads "5ms" and "0-20ms"; a bare number takes the unit of the other end.
func parseThink(s string) (lo, hi time.Duration, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if hi, err = time.ParseDuration(b); err != nil {
		return 0, 0, err
	}
	if lo, err = time.ParseDuration(a); err != nil {
		if lo, err = time.ParseDuration(a + strings.TrimLeft(b, "0123456789.")); err != nil {
			return 0, 0, err
		}
	}
	if lo < 0 || hi < lo {
		return 0, 0, errors.New("want min-max, neither negative")
	}
	return lo, hi, nil
}
