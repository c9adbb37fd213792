//go:build unix

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/baton-go/baton/examples/internal/visitors"
)

const (
	factLimit = 20 * time.Second // for facts that should come about in much less
	stopLimit = 45 * time.Second
)

// side is the run of one service under the load: ours, or the rival's.
type side struct {
	title string
	ours  bool
	cfg   config
	dir   string
	say   func(format string, args ...any)

	svc   *service
	stats *stats
	load  *visitors.Load
	bal   *balancer
	end   context.CancelFunc // of the balancer

	seeing sync.WaitGroup // the generations whose end is waited for

	mu       sync.Mutex
	events   []event
	lives    []*life // the generations that became main, in order
	refusals []failedSwap
	broke    error         // why the run was given up
	cut      time.Duration // and when; what came later was our own doing
	stop     time.Duration
	ended    time.Duration
}

// event is a mark on the timeline, beside those that the lives make.
type event struct {
	at    time.Duration
	label string
	bad   bool
}

// life is what was seen of one generation. Times are counted from the start of the run.
type life struct {
	pid        int
	generation int
	version    string
	asked      time.Duration // its start was triggered
	first      time.Duration // its first answer
	promoted   time.Duration // its pid stood in the PID file
	superseded time.Duration // so did the next one's
	gone       time.Duration
	proc       *proc
}

// failedSwap is a swap that was meant to fail, and how it did.
type failedSwap struct {
	what, reason string
	took         time.Duration
}

func (s *side) mark(at time.Duration, bad bool, format string, args ...any) {
	s.mu.Lock()
	s.events = append(s.events, event{at, fmt.Sprintf(format, args...), bad})
	s.mu.Unlock()
}

// begin starts the service and the load, and waits until each client has had an answer.
func (s *side) begin(ctx context.Context, e edition, args ...string) error {
	s.stats = newStats()
	target := filepath.Join(s.dir, s.title)
	err := e.install(s.dir, target)
	if err != nil {
		return err
	}
	s.say("%s: starts under %s", s.title, s.cfg.describe())
	if s.svc, err = launch(s.title, target, args, s.cfg.verbose); err != nil {
		return err
	}
	if err := until(ctx, factLimit, "the PID file names the first process", func() (bool, error) {
		return s.svc.pid() == s.svc.group, s.alive(s.svc.group)
	}); err != nil {
		return err
	}
	s.bal = newBalancer(s.svc.addr, s.cfg.secure, func(in bool) {
		label := "balancer: out"
		if in {
			label = "balancer: in"
		}
		s.mark(s.stats.now(), false, "%s", label)
	})
	var balancing context.Context
	balancing, s.end = context.WithCancel(context.Background())
	go s.bal.run(balancing)
	s.load = newLoad(s.cfg, s.svc.addr, s.stats, s.bal.in.Load)
	now := s.stats.now()
	first := &life{pid: s.svc.group, generation: 1, version: e.version, promoted: now, proc: s.svc.watch(s.svc.group)}
	s.lives = append(s.lives, first)
	s.load.Start()
	if err := until(ctx, factLimit+s.cfg.IdleThink, "every client has had an answer", func() (bool, error) {
		return s.load.IsWarm(), s.alive(s.svc.group)
	}); err != nil {
		return err
	}
	s.noteFirst(first)
	s.seeOff(first)
	return s.rest(ctx, s.cfg.every)
}

// rest lets the load run for a while, so that the timeline shows what is normal.
func (s *side) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// alive is an error when a process has ended that should not have.
func (s *side) alive(pid int) error {
	if p := s.svc.watch(pid); p.isGone() {
		return fmt.Errorf("process %d ended with exit code %s", pid, p.exit())
	}
	return nil
}

func (s *side) current() *life { return s.lives[len(s.lives)-1] }

// seeOff writes down when a generation has ended.
func (s *side) seeOff(l *life) {
	s.seeing.Go(func() {
		<-l.proc.gone
		s.mu.Lock()
		l.gone = l.proc.at.Sub(s.stats.t0)
		s.mu.Unlock()
	})
}

func (s *side) noteFirst(l *life) bool {
	a, ok := s.stats.firstAnswer(l.pid)
	if ok {
		l.first, l.generation = a.at, a.generation
	}
	return ok
}

// finish ends the load and whatever of the service is still there.
func (s *side) finish() {
	if s.load != nil {
		s.end()
	}
	if s.broke != nil && s.svc != nil {
		s.svc.destroy() // first, or the load would wait for it
	}
	if s.load != nil {
		s.load.Stop()
	}
	if s.svc != nil {
		s.svc.destroy()
		s.seeing.Wait()
	}
	if s.stats != nil {
		s.ended = s.stats.now()
	}
}

func ms(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// describe says what the load is.
func (c config) describe() string {
	think := c.ThinkMin.String()
	if c.ThinkMax != c.ThinkMin {
		think = fmt.Sprintf("%v to %v", c.ThinkMin, c.ThinkMax)
	}
	parts := []string{fmt.Sprintf("%d keep-alive clients (think time %s)", c.Clients, think)}
	add := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(c.Idle, "%d clients idle for %v between requests", c.Idle, c.IdleThink)
	add(c.Fresh, "%d new connections a second", c.Fresh)
	add(c.Slow, "%d 2-second requests at a time", c.Slow)
	add(c.Odd, "%d odd clients", 4*c.Odd)
	return strings.Join(parts, ", ")
}
