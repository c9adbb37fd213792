package statuspage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/health"
	"github.com/baton-go/baton/listener"
)

// fake is a service that does what it is asked at once, or never.
type fake struct {
	status drain.Status
	err    error
	hangs  bool
	done   []Action
}

func (f *fake) Status() drain.Status { return f.status }

func (f *fake) do(ctx context.Context, a Action) error {
	f.done = append(f.done, a)
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}
func (f *fake) Swap(ctx context.Context) error    { return f.do(ctx, Swap) }
func (f *fake) Pull(ctx context.Context) error    { return f.do(ctx, Pull) }
func (f *fake) Restore(ctx context.Context) error { return f.do(ctx, Restore) }
func (f *fake) Stop(ctx context.Context) error    { return f.do(ctx, Stop) }

func all(*http.Request, Action) bool { return true }

// ask returns the answer of h to a request for http://host+target with these headers.
func ask(h http.Handler, method, host, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func look(t *testing.T, h http.Handler, host string) (v view) {
	t.Helper()
	if err := json.NewDecoder(ask(h, "GET", host, "/"+state).Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The page works wherever it is mounted, its parts are beside it, and no answer is kept or runs what is not its own.
func TestPageUnderAnyPrefix(t *testing.T) {
	t.Parallel()
	page := New(&fake{}, Options{})
	whole := http.NewServeMux()
	whole.Handle("/a/b/", page)
	for name, c := range map[string]struct {
		h      http.Handler
		prefix string
	}{
		"at the root": {page, "/"}, "in a mux": {whole, "/a/b/"}, "stripped": {http.StripPrefix("/ops", page), "/ops/"},
	} {
		for part, kind := range types {
			resp := ask(c.h, "GET", "localhost", c.prefix+part+"?v=1")
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind || len(text) == 0 ||
				resp.Header.Get("Cache-Control") != "no-store" ||
				resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %s%s: %d %v", name, c.prefix, part, resp.StatusCode, resp.Header)
			}
			policy := resp.Header.Get("Content-Security-Policy")
			for _, want := range []string{
				"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
			} {
				if !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") {
					t.Errorf("%s: the policy is %q", part, policy)
				}
			}
			for _, foreign := range []string{
				`="/`, "='/", "style=", "onclick=", "<script>", `="http`, "@import", "hHTML",
			} {
				if kind != "image/svg+xml" && strings.Contains(string(text), foreign) {
					t.Errorf("%s has %s", part, foreign)
				}
			}
		}
		for _, target := range []string{"page.html", "other", "status.json/x", "..%2fstatuspage.go"} {
			if resp := ask(c.h, "GET", "localhost", c.prefix+target); resp.StatusCode != 404 {
				t.Errorf("%s: %s%s: %d", name, c.prefix, target, resp.StatusCode)
			}
		}
	}
	resp := ask(http.StripPrefix("/x/ops", page), "GET", "localhost", "/x/ops?a=/b")
	if resp.Header.Get("Location") != "ops/" {
		t.Errorf("without a slash: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

// What an attacker may send, who can't read the page: nothing is done. Each differs in one thing from what is done.
func TestForgedActions(t *testing.T) {
	t.Parallel()
	const host = "status.test:8081"
	for name, c := range map[string]struct {
		method, host, target string
		header               []string // a header of "" is not sent
		want                 int
	}{
		"none":                      {want: 200},
		"none, by an older browser": {header: []string{"Sec-Fetch-Site", ""}, want: 200},
		"none, by address": {host: "10.1.2.3:8081",
			header: []string{"Origin", "http://10.1.2.3:8081"}, want: 200},
		"none, by IPv6": {host: "[::1]:8081",
			header: []string{"Origin", "http://[::1]:8081"}, want: 200},
		"none, the host in capitals": {host: "Status.Test.",
			header: []string{"Origin", ""}, want: 200},
		"none, behind a proxy": {host: "127.0.0.1:8081",
			header: []string{"Origin", "https://ops.example"}, want: 200},

		"a link or an image": {method: "GET", want: 405},
		"HEAD":               {method: "HEAD", want: 405},
		"PUT":                {method: "PUT", want: 405},
		"a form's override":  {method: "GET", header: []string{"X-HTTP-Method-Override", "POST"}, want: 405},

		"a form of another site": {
			header: []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, want: 403},
		"a page of a sister host": {
			header: []string{"Sec-Fetch-Site", "same-site", "Origin", "http://x.status.test"}, want: 403},
		"another site, an older browser": {
			header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.test"}, want: 403},
		"another port, an older browser": {
			header: []string{"Sec-Fetch-Site", "", "Origin", "http://status.test:80"}, want: 403},
		"a sandboxed frame": {
			header: []string{"Sec-Fetch-Site", "", "Origin", "null"}, want: 403},
		"a simple request of another site": {
			header: []string{"Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site"}, want: 403},

		"no origin and no token": {
			header: []string{"Sec-Fetch-Site", "", "Origin", "", tokenHeader, ""}, want: 409},
		"no token":                 {header: []string{tokenHeader, ""}, want: 409},
		"a token that was guessed": {header: []string{tokenHeader, strings.Repeat("A", 26)}, want: 409},

		"a name that points here": {host: "evil.test:8081",
			header: []string{"Origin", "http://evil.test:8081"}, want: 421},
		"a name that looks like one": {host: "127.0.0.1.evil.test", header: []string{"Origin", ""}, want: 421},
		"a name that ends like one":  {host: "evil-status.test", header: []string{"Origin", ""}, want: 421},
		"a name behind localhost":    {host: "localhost.evil.test", header: []string{"Origin", ""}, want: 421},
		"no name":                    {host: "", header: []string{"Origin", "", "Host", "none"}, want: 421},

		"an action that is not allowed": {target: "/stop", want: 403},
		"an action that there is not":   {target: "/hurry", want: 404},
		"a part of the page":            {target: "/status.json", want: 405},
		"an action in the query":        {target: "/?action=swap", want: 405},
	} {
		f := &fake{}
		h := New(f, Options{Hosts: []string{"status.test"},
			Allow: func(_ *http.Request, a Action) bool { return a != Stop }})
		r := httptest.NewRequest("POST", "/swap", nil)
		r.Host = host
		sent := map[string]string{
			"Sec-Fetch-Site": "same-origin",
			"Origin":         "http://" + host,
			tokenHeader:      look(t, h, host).Token,
		}
		if c.method != "" {
			r.Method = c.method
		}
		if c.target != "" {
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(c.target, "?")
		}
		if c.host != "" || name == "no name" {
			r.Host = c.host
		}
		for i := 0; i < len(c.header); i += 2 {
			sent[c.header[i]] = c.header[i+1]
		}
		for key, value := range sent {
			if value != "" {
				r.Header.Set(key, value)
			}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (len(f.done) > 0) != (c.want == 200) {
			t.Errorf("%s: %d %s, done %v; want %d", name, w.Code, w.Body, f.done, c.want)
		}
	}
}

// Nobody may do anything unless the program says so, and a stranger's page learns no token.
func TestWhatIsAllowedIsShown(t *testing.T) {
	t.Parallel()
	reads := func(r *http.Request, a Action) bool { return a == Pull || r.Header.Get("Authorization") != "" }
	for name, c := range map[string]struct {
		o    Options
		host string
		want []Action
	}{
		"the default":    {Options{}, "localhost", nil},
		"everything":     {Options{Allow: all}, "localhost:80", []Action{Swap, Pull, Restore, Stop}},
		"some":           {Options{Allow: reads}, "127.0.0.1", []Action{Pull}},
		"another's name": {Options{Allow: all}, "evil.test", nil},
	} {
		v := look(t, New(&fake{status: drain.Status{Phase: drain.Ready}}, c.o), c.host)
		if !slices.Equal(v.May, c.want) || (v.Token != "") != (len(c.want) > 0) {
			t.Errorf("%s: %v, %q; want %v", name, v.May, v.Token, c.want)
		}
	}
}

// The answer says how it went; what takes its time goes on, and holds up nobody.
func TestActionsSayHowTheyWent(t *testing.T) {
	t.Parallel()
	for _, a := range []Action{Swap, Pull, Restore, Stop} {
		for want, f := range map[int]*fake{
			200: {},
			202: {hangs: true},
			409: {err: fmt.Errorf("not now: %w", &drain.RefusedError{})},
			500: {err: errors.New("why")},
		} {
			h := New(f, Options{Allow: all})
			began := time.Now()
			resp := ask(h, "POST", "localhost", "/"+string(a), tokenHeader, look(t, h, "localhost").Token)
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != want || !slices.Equal(f.done, []Action{a}) ||
				f.err != nil && !strings.Contains(string(text), f.err.Error()) {
				t.Errorf("%s: %d %s, done %v; want %d", a, resp.StatusCode, text, f.done, want)
			}
			if took := time.Since(began); took > 30*enough {
				t.Errorf("%s took %v", a, took)
			}
		}
	}
}

// crowded is the status of a service with 10,000 connections, 5 generations and 20 probers.
func crowded() (st drain.Status) {
	now := time.Now()
	st = drain.Status{Generation: 5, PID: 5, Version: "v5", Phase: drain.Pulled, Since: now, Pulled: true,
		Open: listener.Counts{Idle: 9000, Active: 900, HTTP2: 96}}
	for g := 1; g < 5; g++ {
		st.Older = append(st.Older, drain.Peer{Generation: g, PID: g, Phase: drain.Draining, Since: now, Deadline: now,
			Open: listener.Counts{Hijacked: 1}, Tasks: g})
	}
	for g := 1; g <= 16; g++ {
		st.History = append(st.History, drain.Record{At: now, Generation: g, Version: "v",
			Err: strings.Repeat("why ", 75), Gone: now})
	}
	for i := range 20 {
		st.Probers = append(st.Probers, health.Prober{Kind: "ping", Host: fmt.Sprint("10.0.0.", i),
			UserAgent: "HAProxy/2.6 check", Interval: time.Second, LastSeen: now, Needs: 3, Live: true})
	}
	return st
}

// A client that has gone without a word, or does not read, holds up no swap and no stop.
func TestASlowReaderIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		long := drain.Status{Probers: make([]health.Prober, 1<<10)}
		page, answered := New(&fake{status: long}, Options{}), make(chan time.Duration, 1)
		near, far := net.Pipe()
		defer near.Close()
		ln := one{make(chan net.Conn, 1)}
		ln.conns <- far
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begin := time.Now()
			page.ServeHTTP(w, r)
			answered <- time.Since(begin)
		})}
		go func() { _ = srv.Serve(ln) }()
		_, _ = io.WriteString(near, "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
		select {
		case took := <-answered:
			if took == 0 {
				t.Error("nothing has waited for the reader")
			}
		case <-time.After(time.Minute):
			t.Error("it is waited for the reader for more than a minute")
		}
		close(ln.conns)
		_ = srv.Close()
	})
}

// one is a listener with the connections of a channel.
type one struct{ conns chan net.Conn }

func (o one) Accept() (net.Conn, error) {
	if nc, ok := <-o.conns; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}
func (one) Close() error   { return nil }
func (one) Addr() net.Addr { return &net.TCPAddr{} }
