package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gated is a gate that is used, for requests that take their connections over.
type gated struct {
	*Gate
	t     testing.TB
	taken sync.Map
}

func newGated(t testing.TB) *gated {
	g := &gated{t: t}
	g.Gate = New(func(ctx context.Context) bool {
		_, ok := g.taken.Load(ctx.Value(http.LocalAddrContextKey))
		return ok
	})
	g.Use()
	return g
}

// step is something that a handler does.
type step func(g *gated, r *http.Request)

func sleep(d time.Duration) step        { return func(*gated, *http.Request) { time.Sleep(d) } }
func endless(_ *gated, r *http.Request) { Endless(r.Context()) }
func hijack(g *gated, r *http.Request) {
	g.taken.Store(r.Context().Value(http.LocalAddrContextKey), true)
}
func bug(*gated, *http.Request)         { panic("bug") }
func goexit(*gated, *http.Request)      { runtime.Goexit() }
func mustNot(g *gated, _ *http.Request) { g.t.Error("begun") }
func within(all ...step) step {
	return func(g *gated, r *http.Request) { g.Serve(g.does(all...), nil, r) }
}
func meanwhile(all ...step) step {
	return func(g *gated, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		r = r.WithContext(ctx)
		go func() {
			defer cancel()
			g.does(all...)(nil, r)
		}()
	}
}

// elsewhere is behind another gate, and again behind this one.
func elsewhere(all ...step) step {
	return func(g *gated, r *http.Request) {
		other := newGated(g.t)
		other.Serve(g.does(within(all...), func(*gated, *http.Request) {
			if n, endless, _ := other.Running(); n > 0 || endless != 1 {
				g.t.Error("the other gate waits")
			}
		}), nil, r)
	}
}

func (g *gated) does(all ...step) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		for _, f := range all {
			f(g, r)
		}
	}
}

// call serves a request as a server does, on a connection of its own. The channel is closed at the end.
func (g *gated) call(ctx context.Context, target string, all ...step) (over <-chan struct{}) {
	r := httptest.NewRequest("PUT", target, nil)
	r = r.WithContext(context.WithValue(ctx, http.LocalAddrContextKey, new(int)))
	end := make(chan struct{})
	go func() {
		defer close(end)
		defer func() { _ = recover() }()
		g.Serve(g.does(all...), nil, r)
	}()
	return end
}

func (g *gated) wantEmpty() {
	g.t.Helper()
	if awaited, endless, held := g.Running(); awaited+endless+held > 0 {
		g.t.Errorf("%d, %d, %d are left", awaited, endless, held)
	}
}

func pauseMax(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), d, errors.New("PauseMax is over"))
	context.AfterFunc(ctx, cancel)
	return ctx
}

// TestShut: which handlers Shut waits for, and how long.
func TestShut(t *testing.T) {
	const sec, never = time.Second, -1
	long := sleep(time.Minute)
	for name, c := range map[string]struct {
		want time.Duration
		all  [][]step
	}{
		"nothing runs":         {0, nil},
		"the longest counts":   {2 * sec, [][]step{{sleep(2 * sec)}, {sleep(sec)}}},
		"longer than PauseMax": {never, [][]step{{long}}},
		"panic":                {sec, [][]step{{sleep(sec), bug}}},
		"Goexit":               {sec, [][]step{{sleep(sec), goexit}}},

		"endless before":                {0, [][]step{{endless, endless, long}}},
		"endless while the gate shuts":  {2 * sec, [][]step{{sleep(2 * sec), endless, endless, long}, {sleep(sec)}}},
		"endless from elsewhere":        {sec, [][]step{{meanwhile(sleep(sec), endless), long}}},
		"endless after its end":         {never, [][]step{{meanwhile(sleep(sec), endless)}, {long}}},
		"hijacked before":               {0, [][]step{{hijack, long}}},
		"hijacked while the gate shuts": {sec, [][]step{{sleep(sec), hijack, long}}},

		"within another: begins":           {2 * sec, [][]step{{sleep(sec), within(sleep(sec))}}},
		"within another: is waited for":    {2 * sec, [][]step{{meanwhile(within(sleep(2 * sec))), sleep(sec)}}},
		"within another: both are endless": {0, [][]step{{within(endless), long}}},
		"within an endless one: waits":     {0, [][]step{{endless, sleep(sec), within(mustNot)}}},
		"within a hijacked one: waits":     {sec, [][]step{{sleep(sec), hijack, within(mustNot)}}},

		"within one of another gate: all are endless": {0, [][]step{{elsewhere(endless), long}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, start, want := newGated(t), time.Now(), c.want
				ctx, cancel := context.WithCancel(t.Context())
				var all []<-chan struct{}
				for _, steps := range c.all {
					all = append(all, g.call(ctx, "/", steps...))
				}
				synctest.Wait()
				err := g.Shut(pauseMax(10 * sec))
				if want == never {
					want = 10 * sec
				}
				late := time.Since(start) - want
				if strings.Contains(name, "hijacked") {
					late = late.Truncate(pollEvery + 1) // nothing tells the gate
				}
				if (err != nil) != (c.want == never) || late != 0 {
					t.Errorf("%v, %v after %v", err, late, want)
				}
				if n, _, _ := g.Running(); (n > 0) != (c.want == never) {
					t.Errorf("%d run", n)
				}
				time.Sleep(2 * sec)
				cancel()
				g.PassOn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // what waits
				for _, over := range all {
					<-over
				}
				g.wantEmpty()
			})
		})
	}
}

// TestCalm: the gate stays open, and the error names the oldest, without what may be secret.
func TestCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, long, start := newGated(t), strings.Repeat("b", 300), time.Now()
		var last <-chan struct{}
		for _, target := range []string{"/a?key=secret", "/" + long, "/c", "/d", "/e"} {
			last = g.call(t.Context(), target, sleep(10*time.Second))
			time.Sleep(time.Second)
		}
		for _, c := range []struct {
			max, longest, until time.Duration // until: since start
			want                string
		}{
			{0, 5 * time.Second, 5 * time.Second, ""},
			{time.Second, 2500 * time.Millisecond, 6 * time.Second,
				"PauseMax is over: handlers still run: " +
					"PUT /a for 6s, PUT /" + long[:199] + "… for 5s, PUT /c for 4s, and 1 more"},
			{time.Minute, 0, 14 * time.Second, ""},
		} {
			err := g.Calm(pauseMax(c.max), c.longest)
			if (err != nil || c.want != "") && (err == nil || err.Error() != c.want) {
				t.Errorf("%v; want %s", err, c.want)
			}
			if at := time.Since(start); at < c.until || at > c.until+pollEvery {
				t.Errorf("until %v; want %v", at, c.until)
			}
			<-g.call(t.Context(), "/")
		}
		<-last
		g.wantEmpty()
	})
}

// TestOpenGateIsNotSeen: a handler gets the very request and ResponseWriter, so it can do all that it could.
func TestOpenGateIsNotSeen(t *testing.T) {
	w, r, g := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), New(nil)
	h := http.HandlerFunc(func(hw http.ResponseWriter, hr *http.Request) {
		if hw != http.ResponseWriter(w) || hr != r {
			t.Error("not the same")
		}
		w.Code++
	})
	g.Serve(h, w, r)
	g.Use()
	g.Serve(h, w, r)
	if w.Code != 202 {
		t.Errorf("%d calls", w.Code-200)
	}
}

// TestClients: requests that wait at the gate of a server are served, passed on, or end with their clients.
func TestClients(t *testing.T) {
	says := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	for name, c := range map[string]struct {
		want string
		then func(g *gated, gone func())
	}{
		"opened":    {"here", func(g *gated, _ func()) { g.Open() }},
		"passed on": {"there", func(g *gated, _ func()) { g.PassOn(says("there")) }},
		"gone":      {"", func(g *gated, gone func()) { gone(); g.Open() }},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" "+proto, func(t *testing.T) {
				g, ended := newGated(t), make(chan any, 1)
				srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() {
						p := recover()
						if ended <- p; p != nil {
							panic(p)
						}
					}()
					g.Serve(says("here"), w, r)
				}))
				srv.EnableHTTP2 = proto == "HTTP/2.0"
				srv.StartTLS()
				defer srv.Close()
				if err := g.Shut(t.Context()); err != nil {
					t.Fatal(err)
				}
				ctx, gone := context.WithCancel(t.Context())
				defer gone()
				go func() {
					for held := 0; held == 0; _, _, held = g.Running() {
						time.Sleep(time.Millisecond)
					}
					_ = g.Shut(t.Context())
					c.then(g, gone)
				}()
				r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
				var body []byte
				a, err := srv.Client().Do(r)
				if err == nil {
					body, err = io.ReadAll(a.Body)
					_ = a.Body.Close()
				}
				p := <-ended
				switch {
				case c.want == "" && (err == nil || errors.Is(err, context.Canceled)) && p == nil:
				case err != nil || string(body) != c.want || p != nil || a.Proto != proto:
					t.Errorf("%q, %v; the handler ended with %v", body, err, p)
				}
			})
		}
	}
}

// TestNoneBegins: no handler begins between Shut and Open, or after PassOn, whatever clients and handlers do.
func TestNoneBegins(t *testing.T) {
	const clients, rounds = 64, 30
	g := newGated(t)
	var shut atomic.Bool
	var begun, passed atomic.Int64
	var any step
	kinds := []step{sleep(0), endless, hijack, bug, func(g *gated, r *http.Request) { within(any)(g, r) }}
	any = func(g *gated, r *http.Request) {
		if shut.Load() {
			t.Error("begun while the gate is shut")
		}
		kinds[int(begun.Add(1))%len(kinds)](g, r)
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for passed.Load() < clients {
				ctx, cancel := context.WithCancel(t.Context())
				if i%4 == 0 {
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				}
				<-g.call(ctx, "/", any)
				cancel()
			}
		})
	}
	for range rounds {
		shut.Store(false)
		g.Open()
		for before := begun.Load(); begun.Load() < before+clients; {
			runtime.Gosched()
		}
		if err := g.Shut(t.Context()); err != nil {
			t.Fatal(err)
		}
		shut.Store(true)
		for held := 0; held < clients/2; _, _, held = g.Running() {
			runtime.Gosched()
		}
	}
	g.PassOn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed.Add(1) }))
	wg.Wait()
	g.wantEmpty()
}

func BenchmarkServe(b *testing.B) {
	unused, used, came := New(nil), newGated(b), httptest.NewRequest("GET", "/", nil)
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, serve := range map[string]func(http.Handler, http.ResponseWriter, *http.Request){
		"bare":       http.Handler.ServeHTTP,
		"before Use": unused.Serve,
		"after Use":  used.Serve,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := new(http.Request)
				for pb.Next() {
					*r = *came
					serve(h, nil, r)
				}
			})
		})
	}
}
