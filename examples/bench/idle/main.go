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
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

var (
	idle    = flag.String("idle", "10000,18000", "the `numbers` of idle connections, one run each")
	active  = flag.Int("active", 64, "the `number` of active clients")
	think   = flag.Duration("think", 20*time.Millisecond, "the most `time` that an active client rests between two requests")
	every   = flag.Duration("every", 7*time.Second, "the `time` between two swaps: after a swap, servers get what rests within 5s")
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

func service(ctx context.Context) error {
	svc, err := drain.New(drain.Config{ControlSocket: *socket, Probation: 100 * time.Millisecond, OnEvent: said})
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *serve)
	if err != nil {
		return err
	}
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	srv := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Hour}
	if !*secure {
		svc.Serve(ln, srv)
	} else if err := svc.ServeTLS(ln, srv, *socket+".cert", *socket+".key"); err != nil {
		return err
	}
	return svc.Run(ctx)
}

// said tells the measurement when something was.
func said(e drain.Event) {
	fmt.Printf("idle: %d %d %d %s\n", time.Now().UnixNano(), cpu(), os.Getpid(), e.Kind)
	if *profile == "" {
		return
	}
	switch e.Kind {
	case drain.EventReplaced, drain.EventPromoted:
		f, err := os.Create(filepath.Join(*profile, fmt.Sprintf("%s.%d", e.Kind, os.Getpid())))
		if err != nil || pprof.StartCPUProfile(f) != nil {
			return
		}
		if e.Kind == drain.EventPromoted {
			time.AfterFunc(time.Second, pprof.StopCPUProfile)
		}
	case drain.EventStopped:
		pprof.StopCPUProfile()
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

// site is the service with its clients.
type site struct {
	drain.Client
	addr   string
	conns  int
	events chan event
	came   []event // and was not awaited yet
	dials  atomic.Int64

	mu    sync.Mutex // guards what follows
	waits []wait
	err   error
}

type event struct {
	at   time.Time
	cpu  time.Duration // that the process has used until then
	pid  int
	kind drain.EventKind
}

type wait struct {
	end  time.Time
	took time.Duration
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
	fmt.Printf("\t%d active, p50/p99/p99.9/longest: quiet %s; moved %s; after %s\n", *active, spread(quiet), spread(moved), spread(after))
	return s.failure()
}

// start starts the service and returns its pid.
func (s *site) start(dir string) (pid int, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	s.addr = ln.Addr().String()
	_ = ln.Close()
	s.Socket, s.events = filepath.Join(dir, "control"), make(chan event, 100)
	args := []string{"-serve", s.addr, "-socket", s.Socket, "-profile", *profile}
	if *secure {
		args = append(args, "-tls")
		if err := certify(s.Socket+".cert", s.Socket+".key"); err != nil {
			return 0, err
		}
	}
	cmd := exec.Command(cmp.Or(*program, os.Args[0]), args...)
	log, err := os.Create(s.Socket + ".log")
	if err != nil {
		return 0, err
	}
	defer log.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = in, log
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return 0, err
	}
	go func() { _ = cmd.Wait() }()
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			var at int64
			if n, _ := fmt.Sscanf(lines.Text(), "idle: %d %d %d %s", &at, &e.cpu, &e.pid, &e.kind); n == 4 {
				e.at = time.Unix(0, at)
				s.events <- e
			}
		}
	}()
	ready, err := s.await(drain.EventReady, 0) // the process that was started may be its keeper
	return ready.pid, err
}

// await waits for an event of a process; 0 is any. Others that come first are kept.
func (s *site) await(kind drain.EventKind, pid int) (event, error) {
	late := time.After(time.Minute)
	for {
		for i, e := range s.came {
			if e.kind == kind && (pid == 0 || e.pid == pid) {
				s.came = slices.Delete(s.came, i, i+1)
				return e, nil
			}
		}
		select {
		case e := <-s.events:
			s.came = append(s.came, e)
		case <-late:
			return event{}, fmt.Errorf("no event %s within a minute", kind)
		}
	}
}

type result struct {
	begun, end time.Time
	pid        int // of the new generation
	old, new   int // memory, in bytes

	oldCPU, newCPU time.Duration
}

// swap swaps the service, whose pid is old.
func (s *site) swap(ctx context.Context, old int) (r result, err error) {
	if err := s.Swap(ctx); err != nil {
		return r, err
	}
	st, err := s.Status(ctx)
	if err != nil {
		return r, err
	}
	r.pid = st.PID
	over := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			if was, is := memory(old), memory(r.pid); was > 0 && was+is > r.old+r.new {
				r.old, r.new = was, is
			}
			select {
			case <-over:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	defer watch.Wait()
	defer close(over)
	var at [4]event
	for i, e := range []event{{pid: old, kind: drain.EventReplaced}, {pid: r.pid, kind: drain.EventPromoted},
		{pid: old, kind: drain.EventStopped}, {pid: r.pid, kind: drain.EventOlderGone}} {
		if at[i], err = s.await(e.kind, e.pid); err != nil {
			return r, err
		}
	}
	r.begun, r.end = at[0].at, at[2].at
	r.oldCPU, r.newCPU = at[2].cpu-at[0].cpu, at[3].cpu-at[1].cpu
	return r, nil
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is what a process has in RAM, in bytes; 0 where that is not known.
func memory(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		return pages * os.Getpagesize()
	}
	return 0
}

// dial connects, by TLS 1.3 and 1.2 in turn.
func (s *site) dial() (net.Conn, error) {
	if !*secure {
		return net.Dial("tcp", s.addr)
	}
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} //nolint:gosec // its own, of now
	if s.dials.Add(1)%2 == 0 {
		config.MaxVersion = tls.VersionTLS12
	}
	return tls.Dial("tcp", s.addr, config)
}

// client is an active one.
func (s *site) client(ctx context.Context) {
	c, err := s.dial()
	if err != nil {
		s.fail(err)
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		begun := time.Now()
		if err := post(c); err != nil {
			s.fail(fmt.Errorf("a request is lost: %w", err))
			return
		}
		w := wait{time.Now(), time.Since(begun)}
		s.mu.Lock()
		s.waits = append(s.waits, w)
		s.mu.Unlock()
		time.Sleep(rand.N(*think))
	}
}

func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = cmp.Or(s.err, err)
}

func (s *site) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// between returns the waits that were under way in that time.
func (s *site) between(begin, end time.Time) (all []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waits {
		if w.end.After(begin) && w.end.Add(-w.took).Before(end) {
			all = append(all, w.took)
		}
	}
	return all
}

func post(c net.Conn) error {
	const body = "0123456789abcdef"
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n"+body); err != nil {
		return err
	}
	var b [512]byte
	for n := 0; ; {
		m, err := c.Read(b[n:])
		if err != nil {
			return err
		}
		if n += m; strings.HasSuffix(string(b[:n]), "\r\n\r\n"+body) {
			return nil
		}
	}
}

func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[min(len(all)-1, int(share*float64(len(all))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%v/%v/%v/%v of %d", at(0.5), at(0.99), at(0.999), all[len(all)-1].Round(10*time.Microsecond), len(all))
}
