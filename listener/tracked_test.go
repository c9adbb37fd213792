//go:build unix

package listener

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// What a server was given by RegisterOnShutdown is called once, when the set begins to leave, whenever it was
// given; but not what net/http registers there to end HTTP/2.
func TestOnShutdown(t *testing.T) {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: p}
	called := make(chan string, 8)
	block := make(chan struct{})
	defer close(block)
	srv.RegisterOnShutdown(func() { called <- "early"; <-block })
	one := next(t, nil, srv)
	one.set.Track(srv)
	c := dial(t, one)
	c.ask("a")
	srv.RegisterOnShutdown(func() { called <- "late" })
	select {
	case name := <-called:
		t.Fatalf("%s is called while serving", name)
	default:
	}
	field := 0
	for range quirks.OnShutdown(srv) {
		field++
	}
	wait := one.depart(t, nil, time.Millisecond)
	got := map[string]int{}
	for range 2 {
		got[<-called]++
	}
	if got["early"] != 1 || got["late"] != 1 {
		t.Errorf("called: %v", got)
	}
	wait()
	if len(called) > 0 {
		t.Errorf("%s is called twice", <-called)
	}
	if field != 2 {
		t.Errorf("%d functions; does this version of Go keep them, or HTTP/2's, elsewhere?", field)
	}
}

// A server that is tracked twice counts each request once, also while it serves on another listener.
func TestTrackTwice(t *testing.T) {
	var served atomic.Int32
	seen := make(chan int, 8)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		seen <- Requests(r.Context())
		echo(1).ServeHTTP(w, r)
	})}
	one := next(t, nil, srv)
	c := dial(t, one)
	c.ask("a")
	second := mustListen(t, one.set, "tcp", "127.0.0.2:0")
	one.set.Track(srv)
	go func() { _ = srv.Serve(second) }()
	c.ask("b")
	other := dial(t, &generation{ln: second})
	other.ask("c")
	for i, want := range []int{1, 2, 1} {
		if n := <-seen; n != want {
			t.Errorf("request %d is number %d of its connection, want %d", i, n, want)
		}
	}
	one.await(t, "not idle", func(n Counts) bool { return n.Idle == 2 && n.Open() == 2 })
	one.depart(t, nil, time.Millisecond)()
}

// The set holds no server that its user has dropped.
func TestTrackedServerIsFreed(t *testing.T) {
	set := New(Config{})
	func() { set.Track(&http.Server{}) }()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		set.tracked.mu.Lock()
		n := len(set.tracked.all)
		set.tracked.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("still there")
		}
	}
	check(t, set.Leave(context.Background(), nil, 0))
}

// A visitor is known by the first request of its connection: net/http calls an HTTP/2 connection active
// before it has one.
func TestHTTP2RequestsAreNumbered(t *testing.T) {
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			const both = 2
			var inside sync.WaitGroup
			inside.Add(both)
			numbers := make(chan int, both)
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/both" {
					inside.Done()
					inside.Wait()
				}
				numbers <- Requests(r.Context())
			})
			one := serveHTTP2(t, kind, &http.Server{Handler: handler})
			for visitor := range 2 {
				tr, scheme := transport(t, kind)
				ask := func(path string) {
					resp, err := (&http.Client{Transport: tr}).Get(scheme + "://" + one.ln.Addr().String() + path)
					if err != nil {
						t.Error(err)
						return
					}
					_ = resp.Body.Close()
				}
				for want := 1; want <= 3; want++ {
					ask("/")
					if n := <-numbers; n != want {
						t.Errorf("visitor %d: request %d is number %d", visitor, want, n)
					}
				}
				if visitor == 0 {
					continue
				}
				var asking sync.WaitGroup
				for range both {
					asking.Go(func() { ask("/both") })
				}
				asking.Wait()
				for range both {
					if n := <-numbers; n != 3+both && n != 4 {
						t.Errorf("one of two at once is number %d", n)
					}
				}
			}
		})
	}
}
