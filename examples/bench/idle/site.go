//go:build unix

package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-go/baton/drain"
)

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

// memory is what a process has in RAM, in bytes; 0 where that is not known.
func memory(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(text)); len(f) > 1 {
		pages, _ := strconv.Atoi(f[1])
		return pages * os.Getpagesize()
	}
	return 0
}
