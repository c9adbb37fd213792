//go:build linux

// Command pull measures two ways to take a node out of a balancer and stop it, at probe intervals of 1, 2, 5 and 10 s
// and thresholds of 2 and 3 failures: SIGTERM to a service that knows when the balancer's probers have noticed, and a
// script's kill -USR2; sleep 5; kill. The balancer is a real HAProxy, the clients never retry.
//
//	go -C examples run ./bench/pull
//
// It exits with 1 unless the service has noticed in every case no earlier than HAProxy took the node out, at most one
// probe interval later, and without a lost request, and unless the sleep has lost some wherever interval × threshold is
// longer; with 2 when it could not measure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// config is what the flags say.
type config struct {
	cells       []cell
	sleep       time.Duration
	keep, fresh int
	reuse       string
	redispatch  bool
	svg, table  string
	verbose     bool
}

// slowest returns the longest interval.
func (c config) slowest() (d time.Duration) {
	for _, cell := range c.cells {
		d = max(d, cell.interval)
	}
	return d
}

func main() {
	cfg, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(2)
	}
	// SIGPIPE and SIGHUP are among them so that a reader that goes away (| head) does not leave services behind.
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	trials, err := measure(ctx, cfg, say)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "pull: interrupted; everything that was started is ended")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(2)
	}
	os.Exit(tell(os.Stdout, cfg, trials))
}

func parseFlags(args []string, errOut io.Writer) (config, error) {
	c := config{}
	fs := flag.NewFlagSet("pull", flag.ContinueOnError)
	fs.SetOutput(errOut)
	intervals := fs.String("intervals", "1s,2s,5s,10s", "probe `intervals` of the balancer")
	falls := fs.String("falls", "2,3", "`numbers` of failing probes after which it takes a node out")
	fs.DurationVar(&c.sleep, "sleep", 5*time.Second, "the `time` that the script sleeps")
	fs.IntVar(&c.keep, "keep", 3, "`clients` of each backend that keep their connection to the balancer")
	fs.IntVar(&c.fresh, "fresh", 1, "`clients` of each backend that open one for each request")
	fs.StringVar(&c.reuse, "reuse", "safe",
		"HAProxy's http-`reuse`: safe is its default; never opens most connections to a node")
	fs.BoolVar(&c.redispatch, "redispatch", false,
		"let HAProxy try another node when one refuses a connection; off is its default")
	fs.StringVar(&c.svg, "svg", "", "`file` for the figure")
	fs.StringVar(&c.table, "table", "", "put the table into this Markdown `file`, between its marks")
	fs.BoolVar(&c.verbose, "v", false, "show what the services and HAProxy log")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	for _, i := range strings.Split(*intervals, ",") {
		interval, err := time.ParseDuration(i)
		if err != nil || interval < 100*time.Millisecond {
			return c, fmt.Errorf("-intervals: %q: want durations of 100ms or more, as in 1s,5s", i)
		}
		for _, f := range strings.Split(*falls, ",") {
			fall, err := strconv.Atoi(f)
			if err != nil || fall < 1 {
				return c, fmt.Errorf("-falls: %q: want numbers of 1 or more, as in 2,3", f)
			}
			c.cells = append(c.cells, cell{interval, fall})
		}
	}
	switch {
	case c.sleep <= 0:
		return c, errors.New("-sleep must be more than 0")
	case c.keep < 0 || c.fresh < 0 || c.keep+c.fresh == 0:
		return c, errors.New("-keep and -fresh: want at least one client, and none negative")
	case !strings.Contains(" never safe aggressive always ", " "+c.reuse+" "):
		return c, fmt.Errorf("-reuse: %q: want never, safe, aggressive or always", c.reuse)
	}
	return c, nil
}

// measure runs all cells, both ways, side by side behind one HAProxy.
func measure(ctx context.Context, cfg config, say func(string, ...any)) ([]*trial, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, errors.New("haproxy is missing: apt-get install haproxy")
	}
	dir, err := os.MkdirTemp("", "pull")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	say("building the service")
	app := filepath.Join(dir, "app")
	build := exec.CommandContext(ctx, "go", "build", "-o", app, "./nethttp")
	build.Dir = flow.Examples()
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}

	host := flow.Host()
	peer, err := startNode(ctx, dir, "peer", app, host+":7999", cfg.verbose)
	if err != nil {
		return nil, err
	}
	defer peer.end()
	var trials []*trial
	var sites []string
	for _, c := range cfg.cells {
		for _, w := range []way{probeAware, sleeping} {
			t := &trial{cell: c, way: w, cfg: cfg, index: len(trials), host: host, say: say}
			t.node, err = startNode(ctx, dir, t.name(), app, t.addr(), cfg.verbose, t.flags()...)
			if err != nil {
				return nil, err
			}
			defer t.node.end()
			trials, sites = append(trials, t), append(sites, t.site())
		}
	}
	proxy, err := startBalancer(ctx, program, dir, configuration(cfg, trials, peer.addr, dir), sites, cfg.verbose)
	if err != nil {
		return nil, err
	}
	defer proxy.end()
	say("%d backends behind one HAProxy, two nodes each; %d clients for each, which POST and never retry",
		len(trials), cfg.keep+cfg.fresh)

	errs := make([]error, len(trials))
	var running sync.WaitGroup
	for i, t := range trials {
		running.Go(func() {
			if err := t.run(ctx, proxy); err != nil {
				errs[i] = fmt.Errorf("%s: %w", t.name(), err)
				cancel() // a table with holes is worth nothing
			}
		})
	}
	running.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return trials, ctx.Err()
}
