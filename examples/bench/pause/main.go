//go:build unix

// Command pause measures what a swap of a service with an owner costs its clients where there is nothing to carry: the
// longest wait of one of them, beside that of a service without owners.
//
//	go -C examples run ./bench/pause -swaps 50 -clients 64
//
// The two are swapped in turn. "Between" is from the call of Release to that of Acquire, as the owner sees it; the
// other lines are what the service logs of a swap: the whole pause, and its parts.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
)

var (
	swaps   = flag.Int("swaps", 20, "the `number` of swaps of each service")
	clients = flag.Int("clients", 64, "the `number` of clients, which keep their connections")
	think   = flag.Duration("think", 40*time.Millisecond, "the most `time` that a client rests between two requests")
	serve   = flag.String("serve", "", "be the service on this `host:port`, not the measurement")
	socket  = flag.String("socket", "", "its control socket")
	owns    = flag.Bool("owns", false, "it has an owner")
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

// owner has nothing but the time.
type owner struct{}

func (owner) Acquire(_ context.Context, r io.Reader) error {
	if r != nil {
		var released int64
		if err := binary.Read(r, binary.LittleEndian, &released); err != nil {
			return err
		}
		fmt.Printf("between=%v\n", time.Since(time.Unix(0, released)))
	}
	return nil
}

func (owner) Release(_ context.Context, w io.Writer) error {
	if w == nil {
		return nil
	}
	return binary.Write(w, binary.LittleEndian, time.Now().UnixNano())
}

func service(ctx context.Context) error {
	svc, err := drain.New(drain.Config{ControlSocket: *socket, Probation: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	if *owns {
		if err := svc.Own("time", owner{}); err != nil {
			return err
		}
	}
	ln, err := svc.Listen("tcp", *serve)
	if err != nil {
		return err
	}
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	svc.Serve(ln, &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(ctx)
}

// site is one of the two services.
type site struct {
	name, addr string
	drain.Client
	cmd *exec.Cmd
	log *os.File

	mu    sync.Mutex
	waits []wait
	worst []time.Duration // of each swap
	calm  []time.Duration // of the same time without one
}

type wait struct {
	end  time.Time
	took time.Duration
}

func measure(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "pause")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sites := []*site{
		{name: "without owners", addr: "127.0.0.1:18081"},
		{name: "with an owner", addr: "127.0.0.1:18082"},
	}
	for i, s := range sites {
		if err := s.start(ctx, dir, i == 1); err != nil {
			return err
		}
		defer s.Stop(ctx)
	}
	for range *swaps {
		for _, s := range sites {
			if err := s.swap(ctx); err != nil {
				return err
			}
		}
	}
	for _, s := range sites {
		fmt.Printf("%-15s longest wait in a swap: %s; in the same time without one: %s\n",
			s.name, spread(s.worst), spread(s.calm))
	}
	said, err := os.ReadFile(sites[1].log.Name())
	for _, what := range []string{"between", "paused", "handlers", "release", "acquire"} {
		var all []time.Duration
		for _, m := range regexp.MustCompile(` ?\b`+what+`=(\S+)`).FindAllStringSubmatch(string(said), -1) {
			d, err := time.ParseDuration(m[1])
			if err != nil {
				return err
			}
			all = append(all, d)
		}
		if len(all) > 0 {
			fmt.Printf("%-8s %s\n", what, spread(all))
		}
	}
	return err
}

func (s *site) start(ctx context.Context, dir string, owns bool) (err error) {
	s.Socket = filepath.Join(dir, filepath.Base(s.addr))
	if s.log, err = os.Create(s.Socket + ".log"); err != nil {
		return err
	}
	s.cmd = exec.Command(os.Args[0], "-serve", s.addr, "-socket", s.Socket, fmt.Sprintf("-owns=%v", owns))
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for {
		if st, err := s.Status(ctx); err == nil && st.Phase == drain.Ready {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// swap swaps the service under load.
func (s *site) swap(ctx context.Context) error {
	load := &draintest.Load{Client: draintest.Client{Addr: s.addr}, Keep: *clients}
	load.Think = func(draintest.Result) time.Duration { return rand.N(*think) }
	load.Each = func(r draintest.Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waits = append(s.waits, wait{r.Begun.Add(r.Took), r.Took})
	}
	load.Start(ctx)
	defer load.Stop()
	if err := load.Settle(ctx); err != nil {
		return err
	}
	begun := time.Now()
	if err := s.Swap(ctx); err != nil {
		return err
	}
	if err := load.Settle(ctx); err != nil {
		return err
	}
	s.worst = append(s.worst, s.longest(begun))
	took := time.Since(begun)
	begun = time.Now()
	time.Sleep(took)
	if err := load.Settle(ctx); err != nil {
		return err
	}
	s.calm = append(s.calm, s.longest(begun))
	if n := load.Stop(); len(n.Failed)+n.Reconnects > 0 {
		return fmt.Errorf("%s: %v", s.name, n)
	}
	s.waits = nil
	return nil
}

func (s *site) longest(since time.Time) (most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waits {
		if w.end.After(since) {
			most = max(most, w.took)
		}
	}
	return most
}

func spread(all []time.Duration) string {
	slices.Sort(all)
	return fmt.Sprintf("median %v, worst %v", all[len(all)/2].Round(100*time.Microsecond),
		all[len(all)-1].Round(100*time.Microsecond))
}
