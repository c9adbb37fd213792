//go:build unix

package drain_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

type alike struct{ fds, goroutines int }

// serveOften has ten Services, one after another, as a program's own tests do.
func serveOften() error {
	var most alike
	for i := range 10 {
		if err := serveOnce(); err != nil {
			return err
		}
		for until := time.Now().Add(hung / 4); ; time.Sleep(time.Millisecond) {
			http.DefaultClient.CloseIdleConnections()
			entries, err := os.ReadDir("/proc/self/fd")
			now := alike{len(entries), runtime.NumGoroutine()}
			if err != nil {
				return err
			}
			if i == 1 { // what a process has once is there
				most = now
			}
			if i < 2 || now.fds <= most.fds && now.goroutines <= most.goroutines {
				break
			}
			if time.Now().After(until) {
				all := make([]byte, 1<<16)
				return fmt.Errorf("%+v; after two Services %+v\n%s", now, most, all[:runtime.Stack(all, true)])
			}
		}
	}
	return nil
}

func serveOnce() error {
	_, err := drain.New(drain.Config{PullMin: 2, PullMax: 1})
	if err == nil || !strings.Contains(err.Error(), "PullMin") {
		return fmt.Errorf("New with PullMin above PullMax: %w", err)
	}
	svc, err := drain.New(drain.Config{})
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	svc.Serve(ln, &http.Server{})
	over := make(chan error, 1)
	go func() { over <- svc.Run(context.Background()) }()
	resp, err := http.Get("http://" + ln.Addr().String() + "/livez")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if g := svc.Status().Generation; resp.StatusCode != 200 || g != 1 {
		return fmt.Errorf("generation %d answers %d", g, resp.StatusCode)
	}
	var refused *drain.RefusedError
	if _, err := drain.New(drain.Config{}); !errors.As(err, &refused) {
		return fmt.Errorf("another one: %w", err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := svc.Stop(context.Background()); err != nil {
		return err
	}
	return <-over
}

// A process can have one Service after another, whose goroutines and descriptors are gone. The last one is swapped. So
// may a generation that was replaced have some.
func TestOneServiceAfterAnother(t *testing.T) {
	s := start(t, plan{Fault: "Services before"}, withControl)
	s.nextHas("Services after")
	s.swap()
	s.nextHas("")
	s.swap()
	s.noteSince(0, s.pgid, "exit 0")
	s.mustControl("stop")
	s.gone()
	for _, r := range s.since(0) {
		if strings.HasPrefix(r.Note, "error") {
			t.Error(r.Note)
		}
	}
	s.wantNotes(3, 0, "exit 0")
}
