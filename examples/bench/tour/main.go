//go:build unix

// Command tour shows, on a real service under load, what Baton promises: it swaps the binary of examples/gin ten
// times, offers it three binaries that are broken, pulls the node out of its balancer and back, and stops it, while
// clients that never retry count what they lose. Beside it stands the same load on tableflip's documented way.
//
//	go -C examples run ./bench/tour
//
// It exits with 1 when a request of ours was lost, when a keep-alive client of ours had to reconnect, or when anything
// did not happen as it was meant to; with 2 when it could not play at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	cfg, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(2)
	}
	// SIGPIPE and SIGHUP are among them so that a reader that goes away (| head) does not leave services behind.
	ctx, stop := signal.NotifyContext(context.Background(),
		os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	os.Exit(func() int {
		defer stop()
		return play(ctx, cfg)
	}())
}

// play runs the whole tour and returns the exit code.
func play(ctx context.Context, cfg config) int {
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Printf("%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := raiseFiles(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		return 2
	}
	adoptOrphans()
	// A collection in the load generator would show up as latency of the service; there is memory enough to have few.
	debug.SetGCPercent(400)

	dir, err := os.MkdirTemp("", "baton-tour-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		return 2
	}
	defer os.RemoveAll(dir)

	say("building the service%s", map[bool]string{true: ", and tableflip's documented way"}[cfg.rival])
	if err := buildAll(ctx, cfg, dir); ctx.Err() != nil {
		return interrupted()
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		return 2
	}

	ours := &side{title: "baton", ours: true, cfg: cfg, dir: dir, say: say}
	sides := []*side{ours}
	ours.run(ctx, ours.playOurs)
	if cfg.rival && ctx.Err() == nil {
		rival := &side{title: "tableflip", cfg: cfg, dir: dir, say: say}
		sides = append(sides, rival)
		rival.run(ctx, rival.playRival)
	}
	if cfg.https && ctx.Err() == nil {
		cfg.acts = map[string]bool{"swaps": true}
		if cfg.secure, err = newSecurity(dir); err != nil {
			fmt.Fprintln(os.Stderr, "tour:", err)
			return 2
		}
		secured := &side{title: "baton-https", ours: true, cfg: cfg, dir: dir, say: say}
		sides = append(sides, secured)
		secured.run(ctx, secured.playOurs)
	}
	if ctx.Err() != nil {
		return interrupted()
	}

	var results []*result
	for _, s := range sides {
		results = append(results, evaluate(s))
	}
	fmt.Println()
	printTable(os.Stdout, results)
	if cfg.html != "" {
		if err := writeHTML(cfg.html, results); err != nil {
			fmt.Fprintln(os.Stderr, "tour:", err)
			return 2
		}
		fmt.Printf("\ntimeline: %s\n", cfg.html)
	}
	return verdict(os.Stdout, results)
}

func interrupted() int {
	fmt.Fprintln(os.Stderr, "tour: interrupted; everything that was started is ended")
	return 130
}

// run plays a side, and leaves nothing of it behind.
func (s *side) run(ctx context.Context, act func(context.Context) error) {
	defer s.finish()
	if s.broke = act(ctx); s.broke == nil || ctx.Err() != nil {
		return
	}
	if s.stats != nil {
		s.cut = s.stats.now()
	}
	s.say("%s: given up: %v", s.title, s.broke)
	if s.svc != nil {
		fmt.Printf("        its log ends with\n        | %s\n", strings.Join(s.svc.log.tail(20), "\n        | "))
	}
}

func (s *side) playOurs(ctx context.Context) error {
	err := s.begin(ctx, ours1, append(s.cfg.secure.flags(),
		"-keeper", "never", "-probation", s.cfg.probation.String(), "-swap-timeout", s.cfg.swapTimeout.String())...)
	if err != nil {
		return err
	}
	if err := s.swaps(ctx, ours1, ours2); err != nil {
		return err
	}
	if s.cfg.acts["faults"] {
		for _, f := range []struct {
			what string
			e    edition
		}{
			{"crashes at start", crashing},
			{"crashes on probation", onTrial},
			{"never gets ready", hanging},
		} {
			if err := s.swapMeantToFail(ctx, f.what, f.e, ours1); err != nil {
				return err
			}
			if err := s.rest(ctx, 300*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if s.cfg.acts["pull"] {
		if err := s.pull(ctx); err != nil {
			return err
		}
	}
	return s.terminate(ctx)
}

func (s *side) playRival(ctx context.Context) error {
	if err := s.begin(ctx, rival1); err != nil {
		return err
	}
	if err := s.swaps(ctx, rival1, rival2); err != nil {
		return err
	}
	return s.terminate(ctx)
}

func (s *side) swaps(ctx context.Context, editions ...edition) error {
	if !s.cfg.acts["swaps"] {
		return nil
	}
	for n := 1; n <= s.cfg.swaps; n++ {
		if err := s.swap(ctx, n, editions[n%2]); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// buildAll builds what the acts need, the first alone so that the others find the common parts compiled.
func buildAll(ctx context.Context, cfg config, dir string) error {
	editions := []edition{ours1, ours2}
	if cfg.acts["faults"] {
		editions = append(editions, crashing, onTrial, hanging)
	}
	if cfg.rival {
		editions = append(editions, rival1, rival2)
	}
	if err := editions[0].build(ctx, dir, cfg.race); err != nil {
		return err
	}
	errs := make([]error, len(editions))
	var building sync.WaitGroup
	for i, e := range editions[1:] {
		building.Go(func() { errs[i] = e.build(ctx, dir, cfg.race) })
	}
	building.Wait()
	return errors.Join(errs...)
}

// raiseFiles lets the tour and the services open as many files as the system allows.
func raiseFiles(cfg config) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return nil // then the system says no when there are too many
	}
	lim.Cur = lim.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	const spare = 500
	if need := uint64(cfg.Kept() + 4*cfg.Fresh + spare); need > uint64(lim.Max) {
		return fmt.Errorf("%d open files are needed and %d are allowed: "+
			"raise the hard limit (ulimit -Hn) or ask for fewer clients", need, lim.Max)
	}
	return nil
}
