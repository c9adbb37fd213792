package draintest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func echoing(c *net.TCPConn, request func() (string, bool)) {
	for body, ok := request(); ok; body, ok = request() {
		echoTo(c, body, "")
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("a minute is over"))
	t.Cleanup(cancel)
	return ctx
}

func TestLoadCounts(t *testing.T) {
	s := newServer(t, echoing)
	var mu sync.Mutex
	by := make([]int, 3)
	l := &Load{Client: Client{Addr: s.addr}, Keep: 2, Fresh: 1, Each: func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		by[r.Client]++
		if r.Answer.Header.Get("X-Pid") != "7" || r.Err != nil || r.Took <= 0 || r.Begun.IsZero() {
			t.Errorf("%+v", r)
		}
	}}
	l.Start(t.Context())
	for range 3 {
		if err := l.Settle(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	n := l.Stop()
	if slices.Min(by) < 6 || n.Requests != by[0]+by[1]+by[2] || len(n.Failed) > 0 || n.Reconnects > 0 {
		t.Errorf("%v; by client %v", n, by)
	}
	again := l.Stop()
	if again.Requests != n.Requests || !strings.HasSuffix(n.String(), " requests, 0 failed, 0 reconnects") {
		t.Errorf("%v, then %v", n, again)
	}
}

// A server that takes requests and closes without a word: each is a failure, and none is sent a second time.
func TestLoadNeverSendsTwice(t *testing.T) {
	for _, how := range []string{"eof", "reset"} {
		t.Run(how, func(t *testing.T) {
			s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				body, _ := request()
				echoTo(c, body, "")
				request()
				if how == "reset" {
					_ = c.SetLinger(0)
				}
			})
			l := &Load{Client: Client{Addr: s.addr}, Keep: 3, Fresh: 1}
			l.Start(t.Context())
			if err := l.Await(within(t), func(n Counts) bool { return len(n.Failed) >= 30 }); err != nil {
				t.Fatal(err)
			}
			n := l.Stop()
			s.mu.Lock()
			defer s.mu.Unlock()
			for body, times := range s.got {
				if times != 1 {
					t.Errorf("%q came %d times", body, times)
				}
			}
			if len(s.got) != n.Requests || n.Reconnects < 25 || kind(n.Failed[0].Err) != how {
				t.Errorf("%d requests came: %v", len(s.got), n)
			}
			if n.String() == "" || strings.Count(n.String(), "\n") != 11 {
				t.Errorf("%v", n)
			}
		})
	}
}

func TestLoadRests(t *testing.T) {
	s := newServer(t, echoing)
	var refusals atomic.Int32
	var lasts []string
	l := &Load{Keep: 1, Client: Client{Dial: func() (net.Conn, error) {
		if refusals.Add(1) <= 2 {
			return nil, errors.New("not yet")
		}
		return net.Dial("tcp", s.addr)
	}}}
	l.Think = func(last Result) time.Duration {
		lasts = append(lasts, fmt.Sprintf("%v, first %v, again %v", kind(last.Err), last.Begun.IsZero(), last.Again))
		return 0
	}
	l.Start(t.Context())
	if err := l.Await(within(t), func(n Counts) bool { return n.Requests > len(n.Failed)+1 }); err != nil {
		t.Fatal(err)
	}
	n := l.Stop()
	want := []string{"<nil>, first true, again false", "refused, first false, again false",
		"refused, first false, again false", "<nil>, first false, again false"}
	if !slices.Equal(lasts[:4], want) || len(n.Failed) != 2 || n.Reconnects != 0 {
		t.Errorf("%q; %v", lasts, n)
	}
	down := &Load{Client: Client{Dial: func() (net.Conn, error) { return nil, errors.New("down") }}, Keep: 1}
	if rests := down.think(Result{Err: &Failure{"refused", errors.New("down")}}); rests != refusedPause {
		t.Errorf("after a refused connection: %v", rests)
	}
	if rests := down.think(Result{Err: &Failure{"eof", errors.New("down")}}); rests != 0 {
		t.Errorf("after another failure: %v", rests)
	}
}

// Ask may do what it likes with the connection; a wait that ends too early says why.
func TestLoadAsksOtherwise(t *testing.T) {
	s := newServer(t, echoing)
	wrong := errors.New("not as wanted")
	l := &Load{Client: Client{Addr: s.addr}, Keep: 1, Ask: func(c *Client, i, n int) (Answer, error) {
		if i != 0 || n > 0 {
			return Answer{}, wrong
		}
		return c.Do("GET", "/", nil)
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	l.Start(ctx)
	if err := l.Await(within(t), func(n Counts) bool { return n.Requests > 1 }); err != nil {
		t.Fatal(err)
	}
	cancel(errors.New("enough"))
	if n := l.Stop(); n.Failed[0].Err != wrong || n.Requests != len(n.Failed)+1 {
		t.Errorf("%v", n)
	}
	if err := l.Settle(ctx); err == nil || !strings.HasPrefix(err.Error(), "client 0: enough, after ") {
		t.Error(err)
	}
}

// A client whose Think waits for the end of the load sends nothing after it.
func TestNothingIsSentAfterTheEnd(t *testing.T) {
	s := newServer(t, echoing)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		l := &Load{Client: Client{Addr: s.addr}, Keep: 64, Think: func(Result) time.Duration { <-ctx.Done(); return 0 }}
		l.Start(ctx)
		cancel()
		if n := l.Stop(); n.Requests > 0 {
			t.Fatal(n)
		}
	}
}
