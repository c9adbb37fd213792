//go:build unix

// Command idle measures what a swap costs a service with many idle connections, and its active clients meanwhile.
//
//	go -C examples run ./bench/idle -idle 10000,18000 -active 64 -swaps 5
//	go -C examples run ./bench/idle -tls -idle 10000,18000
//
// The service is a process of its own, the clients are this one. A swap's time is that of the old
// generation from its event "replaced" to its last. Active clients send a POST, rest
// up to -think, and never send it twice. "Quiet" is the second before a swap, "moved" is that time, and "after" is the
// second behind it. Every idle connection is asked at the end whether it still answers: a new dial fails the run.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	idle   = flag.String("idle", "10000,18000", "the `numbers` of idle connections, one run each")
	active = flag.Int("active", 64, "the `number` of active clients")
	think  = flag.Duration("think", 20*time.Millisecond,
		"the most `time` that an active client rests between two requests")
	every = flag.Duration("every", 7*time.Second,
		"the `time` between two swaps: after a swap, servers get what rests within 5s")
	swaps   = flag.Int("swaps", 5, "the `number` of swaps in each run")
	secure  = flag.Bool("tls", false, "speak TLS, half 1.3 and half 1.2; otherwise plain text")
	program = flag.String("program", "", "another build of this command, which serves; for comparisons")
	profile = flag.String("profile", "", "a `folder` for CPU profiles of each generation")
	serve   = flag.String("serve", "", "be the service on this `host:port`, not the measurement")
	socket  = flag.String("socket", "", "its control socket")
)

func main() {
	flag.Parse()
	run := measure
	if *serve != "" {
		run = service
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(ctx context.Context) error {
	fmt.Printf("%d CPUs, %s, load %s\n", runtime.NumCPU(), runtime.Version(), load())
	for _, text := range strings.Split(*idle, ",") {
		n, err := strconv.Atoi(text)
		if err == nil {
			err = (&site{conns: n}).measure(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s idle connections: %w", text, err)
		}
	}
	return nil
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return cmp.Or(first, "unknown")
}

func (s *site) measure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "idle")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pid, err := s.start(dir)
	if err != nil {
		return err
	}
	defer s.Stop(ctx)
	var idle []net.Conn
	for range s.conns {
		c, err := s.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := post(c); err != nil {
			return err
		}
		idle = append(idle, c)
	}
	ctx, stop := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer stop()
	for range *active {
		clients.Go(func() { s.client(ctx) })
	}
	var took, quiet, moved, after []time.Duration
	var memory, olds, news int
	var oldCPU, newCPU time.Duration
	for range *swaps {
		begun := time.Now()
		time.Sleep(time.Second)
		quiet = append(quiet, s.between(begun, time.Now())...)
		r, err := s.swap(ctx, pid)
		if err != nil {
			return err
		}
		time.Sleep(*every - time.Second)
		pid = r.pid
		took = append(took, r.end.Sub(r.begun))
		moved = append(moved, s.between(r.begun, r.end)...)
		after = append(after, s.between(r.end, r.end.Add(time.Second))...)
		oldCPU += r.oldCPU / time.Duration(*swaps*s.conns)
		newCPU += r.newCPU / time.Duration(*swaps*s.conns)
		if r.old+r.new > memory {
			memory, olds, news = r.old+r.new, r.old, r.new
		}
	}
	for _, c := range idle {
		if err := post(c); err != nil {
			return fmt.Errorf("an idle connection is lost: %w", err)
		}
	}
	slices.Sort(took)
	kind := "idle"
	if *secure {
		kind = "idle over TLS"
	}
	fmt.Printf("%d %s: moved in median %v, least %v, most %v; both generations %d MB (%d and %d); "+
		"CPU of a connection %v and %v\n", s.conns, kind,
		took[len(took)/2].Round(time.Millisecond), took[0].Round(time.Millisecond),
		took[len(took)-1].Round(time.Millisecond), memory>>20, olds>>20, news>>20,
		oldCPU.Round(100*time.Nanosecond), newCPU.Round(100*time.Nanosecond))
	fmt.Printf("\t%d active, p50/p99/p99.9/longest: quiet %s; moved %s; after %s\n",
		*active, spread(quiet), spread(moved), spread(after))
	return s.failure()
}
