package listener

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// What is cut off while the set leaves counts, whoever closes it: a function of RegisterOnShutdown's, a handler, the
// program. A request that has been answered does not, nor does a Shutdown, which closes nothing that is under way.
func TestCutOffCountsWhoeverCloses(t *testing.T) {
	for name, x := range map[string]struct {
		closes func(one *generation, leave func()) // closes all, or nothing
		lost   int64
	}{
		"RegisterOnShutdown, Close": {func(one *generation, leave func()) {
			one.srv.RegisterOnShutdown(func() { _ = one.srv.Close() })
			leave()
		}, 2},
		"the program": {func(one *generation, leave func()) {
			leave()
			_ = one.srv.Close()
		}, 2},
		"one connection": {func(one *generation, leave func()) {
			leave()
			for _, c := range one.set.all() {
				_ = c.Close()
			}
		}, 2},
		"nobody": {func(_ *generation, leave func()) { leave() }, 0},
		"RegisterOnShutdown, Shutdown": {func(one *generation, leave func()) {
			var once sync.Once // net/http calls it again
			one.srv.RegisterOnShutdown(func() { once.Do(func() { _ = one.srv.Shutdown(context.Background()) }) })
			leave()
		}, 0},
	} {
		for _, encrypted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				entered, release := make(chan bool, 2), make(chan struct{})
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						entered <- true
						<-release
					}
					_, _ = io.WriteString(w, "done")
				})}
				var one *generation
				dials := dial
				if encrypted {
					one, dials = secure(t, srv, "http/1.1"), dialTLS
				} else {
					one = next(t, nil, srv)
				}
				var book ledger
				book.of(one)
				idle := dials(t, one)
				idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				idle.want("done")
				busy := []*client{dials(t, one), dials(t, one)}
				for _, c := range busy {
					c.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
					<-entered
				}
				one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 && n.Active == 2 })
				var wait func()
				x.closes(one, func() { wait = one.depart(t, nil, 20*time.Millisecond) })
				if x.lost > 0 {
					one.await(t, "not closed", func(n Counts) bool { return n.Open() == 0 })
				}
				close(release)
				wait()
				for _, c := range busy {
					if x.lost == 0 {
						resp, err := http.ReadResponse(c.br, nil)
						check(t, err)
						if b, err := io.ReadAll(resp.Body); string(b) != "done" || err != nil {
							t.Errorf("%q, %v", b, err)
						}
					} else {
						c.wantClosed()
					}
				}
				n := one.set.Counts()
				if n.Lost != x.lost || n.CutOff != x.lost || n.Part+n.Junk != 0 {
					t.Errorf("%+v", n)
				}
				for _, l := range book.all() {
					if l.Kind != LostCutOff || l.Method != "GET" || l.Path != "/slow" || l.Age <= 0 {
						t.Errorf("%+v", l)
					}
				}
			})
		}
	}
}

// A handler that ends its own request without an answer, as http.ErrAbortHandler does, cuts nobody off.
func TestAbortedHandlerIsNotCutOff(t *testing.T) {
	entered, release := make(chan bool), make(chan struct{})
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- true
		<-release
		panic(http.ErrAbortHandler)
	})})
	c := dial(t, one)
	c.send(post("a"))
	<-entered
	wait := one.depart(t, nil, time.Hour)
	close(release)
	c.wantClosed()
	wait()
	if n := one.set.Counts(); n.Lost+n.CutOff+n.Part+n.Junk != 0 {
		t.Errorf("%+v", n)
	}
}
