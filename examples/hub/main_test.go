//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
)

// TestMain lets the binary of the tests be the service too: a swap starts it again, with the same environment.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE") == "" {
		os.Exit(m.Run())
	}
	main() // and no test
}

// serve starts the service, and returns when it answers.
func serve(ctx context.Context, t *testing.T, service drain.Client, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], append(flags, "-control", service.Socket)...)
	cmd.Env = append(os.Environ(), "SERVE=1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := service.Status(ctx); err != nil; _, err = service.Status(ctx) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return cmd
}

// TestEachMessageIsDeliveredOnce: through ten swaps, under publishers that never retry, each subscriber gets each
// message that was acknowledged once, in order; and one that comes after a stop and a start gets all again.
func TestEachMessageIsDeliveredOnce(t *testing.T) {
	const subscribers, publishers, swaps = 50, 8, 10
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, dir := freePort(t), t.TempDir()
	service := drain.Client{Socket: filepath.Join(dir, "control")}
	begin := func() *exec.Cmd {
		return serve(ctx, t, service, "-addr", address, "-history", filepath.Join(dir, "history"), "-probation", "1ms")
	}
	stop := func(cmd *exec.Cmd) {
		if err := errors.Join(service.Stop(ctx), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
	first := begin()

	var all sync.WaitGroup
	crowd := make([]*subscriber, subscribers)
	for i := range crowd {
		crowd[i] = &subscriber{url: "http://" + address + "/events", last: "0"}
		all.Go(func() { crowd[i].follow(ctx) })
	}
	var acknowledged, newest atomic.Int64
	load := &draintest.Load{Client: draintest.Client{Addr: address}, Keep: publishers}
	load.Ask = func(c *draintest.Client, i, n int) (draintest.Answer, error) {
		a, err := c.Do("POST", "/publish", fmt.Appendf(nil, "[%d, %d]", i, n))
		if err != nil {
			return a, err
		}
		id, err := strconv.ParseInt(strings.TrimSpace(string(a.Body)), 10, 64)
		for was := newest.Load(); id > was && !newest.CompareAndSwap(was, id); was = newest.Load() {
		}
		acknowledged.Add(1)
		return a, err
	}
	load.Think = func(draintest.Result) time.Duration { return 10 * time.Millisecond }
	load.Start(ctx)
	for range swaps {
		if err := errors.Join(service.Swap(ctx), load.Settle(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	if n := load.Stop(); len(n.Failed)+n.Reconnects > 0 {
		t.Error(n)
	}
	if a, n := acknowledged.Load(), newest.Load(); a != n {
		t.Errorf("%d were acknowledged, and the last of them has the number %d", a, n)
	}
	late := &subscriber{url: crowd[0].url, last: "0"}
	wantAll := func(s *subscriber) {
		t.Helper()
		for s.got.Load() < newest.Load() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if got, wrong := s.got.Load(), s.wrong.Load(); got != newest.Load() || wrong > 0 {
			t.Errorf("a subscriber got %d of %d, %d of them out of turn", got, newest.Load(), wrong)
		}
	}
	came := int64(0)
	for _, s := range crowd {
		wantAll(s)
		came += s.came.Load()
	}
	stop(first)
	again := begin()
	all.Go(func() { late.follow(ctx) })
	wantAll(late)
	stop(again)
	t.Logf("%d messages to each of %d, who came %d times", newest.Load(), subscribers, came)
	cancel()
	all.Wait()
}

// TestWhoReadsNothingHoldsNothingUp: a laptop that sleeps has its stream still, and its buffers are full.
func TestWhoReadsNothingHoldsNothingUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := freePort(t)
	service := drain.Client{Socket: filepath.Join(t.TempDir(), "control")}
	cmd := serve(ctx, t, service, "-addr", address, "-drain-timeout", "1h")
	asleep, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer asleep.Close()
	_, _ = fmt.Fprint(asleep, "GET /events HTTP/1.1\r\nHost: hub\r\nLast-Event-ID: 0\r\n\r\n")
	if _, err := bufio.NewReaderSize(asleep, 16).ReadByte(); err != nil {
		t.Fatal(err)
	}
	body := `"` + strings.Repeat("x", maxMessage-2) + `"`
	for range 500 { // more than both ends' buffers have room for
		resp, err := http.Post("http://"+address+"/publish", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if err := errors.Join(service.Stop(ctx), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// subscriber is an EventSource.
type subscriber struct {
	url              string
	last             string // the number of its last event
	got, wrong, came atomic.Int64
}

// follow gets events until ctx ends, and comes back whenever the stream does.
func (s *subscriber) follow(ctx context.Context) {
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
		req.Header.Set("Last-Event-ID", s.last)
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		s.came.Add(1)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				s.last = id
			} else if strings.HasPrefix(lines.Text(), "data: ") {
				if s.last != fmt.Sprint(s.got.Add(1)) {
					s.wrong.Add(1)
				}
			}
		}
		_ = resp.Body.Close()
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
