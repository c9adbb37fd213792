//go:build unix

package drain_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// errorsEnv makes the test binary a service that asks for what can't be, in an order of its own.
const errorsEnv = "BATON_TEST_ERRORS"

// TestErrorsOfEachMoment: each method, at each moment, with errors that a program can tell apart.
func TestErrorsOfEachMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	eachOf(t, func(t *testing.T, script string) {
		dir := have(os.MkdirTemp("", "baton"))(t)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		ctx, done := context.WithTimeout(context.Background(), hung)
		t.Cleanup(done)
		cmd := exec.CommandContext(ctx, os.Args[0], script, dir)
		cmd.Env = append(os.Environ(), errorsEnv+"=1")
		out := have(os.Create(filepath.Join(dir, "out")))(t) // not a pipe, which generation 2 would hold
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(out.Name())
			t.Errorf("%v\n%s", err, text)
		}
		_, err := drain.Control(ctx, filepath.Join(dir, "s"), "stop")
		if script == "swap" && err != nil || script == "stop" && err == nil {
			t.Errorf("at the end: %v", err)
		}
	}, "swap", "stop")
}

var errPreflight = errors.New("not today")

// moments is the service in those moments.
type moments struct {
	*drain.Service
	events chan drain.Event
	failed bool
	socket string
}

// want wants an error that is all of these, of the others none.
func (m *moments) want(what string, err error, refused bool, is ...error) {
	all := []error{drain.ErrDraining, drain.ErrStopped, drain.ErrNotReady, drain.ErrNotSupported, drain.ErrSwapFailed,
		drain.ErrRestored, drain.ErrCutOff, errPreflight}
	ok := err != nil && errors.As(err, new(*drain.RefusedError)) == refused
	for _, e := range all {
		want := false
		for _, i := range is {
			want = want || i == e
		}
		ok = ok && errors.Is(err, e) == want
	}
	if !ok {
		m.failed = true
		fmt.Printf("%s: %v (%#v); want refused %v and %q\n", what, err, err, refused, is)
	}
}

func (m *moments) await(kind drain.EventKind) {
	for e := range m.events {
		if e.Kind == kind {
			return
		}
	}
}

func (m *moments) control(command string) error {
	_, err := drain.Control(context.Background(), m.socket, command)
	return err
}

func (m *moments) handOver() error {
	a, b := net.Pipe()
	defer b.Close()
	return m.HandOver(a, nil)
}

func errorsMain(script, dir string) {
	m := &moments{events: make(chan drain.Event, 100), socket: filepath.Join(dir, "s")}
	ctx := context.Background()
	leave, preflight := make(chan struct{}), make(chan error, 1)
	cfg := drain.Config{
		ControlSocket: m.socket, Probation: time.Nanosecond, IdleGrace: time.Nanosecond, Signals: &drain.Signals{},
		Preflight: func(context.Context, string) error { return <-preflight },
		OnEvent:   func(e drain.Event) { m.events <- e },
	}
	if script == "stop" {
		cfg.DrainTimeout = 200 * time.Millisecond
		cfg.Leave = func(context.Context) error { <-leave; return nil }
	} else if err := os.Mkdir(filepath.Join(dir, "first"), 0o700); err == nil {
		cfg.PullMin, cfg.PullMax = time.Hour, 2*time.Hour
	}
	svc, err := drain.New(cfg)
	if err != nil {
		panic(err)
	}
	m.Service = svc
	ln, err := svc.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	svc.Serve(ln, &http.Server{})
	if svc.Status().Generation > 1 {
		if err := svc.Run(ctx); err != nil {
			panic(err)
		}
		os.Exit(0)
	}

	m.want("Swap before Run", svc.Swap(ctx), true, drain.ErrNotReady)
	m.want("Pull before Run", svc.Pull(ctx), false, drain.ErrNotReady)
	if err := svc.Restore(ctx); err != nil {
		m.want("Restore before Run: nil", err, false)
	}
	m.want("HandOver before Run", m.handOver(), true)
	over := make(chan error, 1)
	go func() { over <- svc.Run(ctx) }()
	m.await(drain.EventReady)

	_, err = svc.Listen("tcp", "127.0.0.1:0")
	m.want("Listen late", err, true)
	_, err = svc.ListenPacket("udp", "127.0.0.1:0")
	m.want("ListenPacket late", err, true)
	m.want("HandOver while ready", m.handOver(), true)
	hold, working := make(chan struct{}), make(chan error, 1)
	err = svc.Go("work", func(ctx context.Context) {
		<-hold
		<-ctx.Done()
		working <- context.Cause(ctx)
	})
	if err != nil {
		panic(err)
	}
	leading := make(chan error, 1)
	if err := svc.Lead("lead", func(ctx context.Context) { <-ctx.Done(); leading <- context.Cause(ctx) }); err != nil {
		panic(err)
	}
	if script == "swap" {
		m.swap(preflight)
	} else {
		m.stop(leave)
	}
	m.want("the cause of Draining", cause(svc.Draining(ctx)), false, drain.ErrDraining)
	m.want("the cause of Lead", <-leading, false, drain.ErrDraining)
	gone := []error{drain.ErrDraining}
	if script == "stop" {
		gone = append(gone, drain.ErrStopped)
	}
	m.want("Swap while draining", svc.Swap(ctx), true, gone...)
	m.want("Restore while draining", svc.Restore(ctx), true, gone...)
	m.want("Lead while draining", svc.Lead("late", func(context.Context) {}), false, gone...)
	if script == "swap" {
		m.want("Pull while draining", svc.Pull(ctx), true, gone...)
		m.want("HandOver of a strange connection", m.handOver(), false)
		close(hold)
		m.want("the cause of Go", <-working, false, drain.ErrDraining)
		if err := <-over; err != nil {
			m.want("Run: nil", err, false)
		}
	} else {
		m.want("HandOver while draining", m.handOver(), true, gone...)
		m.want("Run", <-over, false, drain.ErrCutOff)
		m.want("Stop", svc.Stop(ctx), false, drain.ErrCutOff)
	}
	m.want("Swap when over", svc.Swap(ctx), false, drain.ErrStopped)
	m.want("Pull when over", svc.Pull(ctx), false, drain.ErrStopped)
	m.want("Restore when over", svc.Restore(ctx), false, drain.ErrStopped)
	m.want("HandOver when over", m.handOver(), false, drain.ErrStopped)
	m.want("Lead when over", svc.Lead("late", func(context.Context) {}), false, drain.ErrStopped)
	m.want("Go when over", svc.Go("late", func(context.Context) {}), false, drain.ErrStopped, drain.ErrDraining)
	if script == "swap" {
		m.want("Run when over", svc.Run(ctx), true, drain.ErrStopped)
	} else {
		m.want("Run when over", svc.Run(ctx), false, drain.ErrCutOff)
	}
	if m.failed {
		os.Exit(1)
	}
	os.Exit(0)
}

func cause(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// swap is what goes wrong until this generation is replaced.
func (m *moments) swap(preflight chan error) {
	ctx := context.Background()
	for name, swap := range map[string]func() error{
		"Swap": func() error { return m.Swap(ctx) }, "swap by the socket": func() error { return m.control("swap") },
	} {
		preflight <- errPreflight
		is := []error{drain.ErrSwapFailed}
		if name == "Swap" {
			is = append(is, errPreflight) // an error of the program's can't cross the socket
		}
		m.want(name+" that fails", swap(), false, is...)
		m.await(drain.EventSwapFailed)

		first := make(chan error, 1)
		go func() { first <- m.Swap(ctx) }()
		m.await(drain.EventSwapBegun)
		m.want(name+" while swapping", swap(), true)
		preflight <- errPreflight
		m.want("the first Swap", <-first, false, drain.ErrSwapFailed, errPreflight)
		m.await(drain.EventSwapFailed)

		pull := make(chan error, 1)
		go func() {
			if name == "Swap" {
				pull <- m.Pull(ctx)
			} else {
				pull <- m.control("pull")
			}
		}()
		m.await(drain.EventPulled)
		if err := m.Restore(ctx); err != nil {
			m.want("Restore: nil", err, false)
		}
		m.want("Pull that is restored", <-pull, false, drain.ErrRestored)
		m.await(drain.EventRestored)
	}
	preflight <- nil
	if err := m.Swap(ctx); err != nil {
		m.want("Swap: nil", err, false)
	}
}

// stop is what can't be from the beginning of a stop until it drains.
func (m *moments) stop(leave chan struct{}) {
	ctx := context.Background()
	ended, end := context.WithCancel(ctx)
	end()
	if err := m.Stop(ended); !errors.Is(err, context.Canceled) {
		m.want("Stop whose ctx has ended", err, false)
	}
	m.await(drain.EventStopping)
	m.want("Swap while stopping", m.Swap(ctx), true, drain.ErrStopped)
	m.want("Restore while stopping", m.Restore(ctx), true, drain.ErrStopped)
	m.want("swap by the socket while stopping", m.control("swap"), true, drain.ErrStopped)
	m.want("restore by the socket while stopping", m.control("restore"), true, drain.ErrStopped)
	m.want("HandOver while stopping", m.handOver(), true, drain.ErrStopped)
	close(leave)
	m.await(drain.EventDraining)
}
