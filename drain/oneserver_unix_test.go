//go:build unix

package drain_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// serveAgain makes the server serve on the other listeners of the plan.
func (g *gen) serveAgain(srv *http.Server) error {
	for _, again := range g.Again {
		ln, err := g.svc.Listen("tcp", again[0])
		if err != nil {
			return err
		}
		if again[1] == "" {
			g.svc.Serve(ln, srv)
		} else if err := g.svc.ServeTLS(ln, srv, again[1], again[2]); err != nil {
			return err
		}
	}
	return nil
}

// pair writes a certificate and its key.
func pair(t testing.TB) (cert, key string) {
	t.Helper()
	p := tlsPlan(t, plan{})
	return filepath.Clean(p.Cert), filepath.Clean(p.Key)
}

// Net/http lets one server have several listeners, and so does the service: through swaps and a stop nobody
// loses anything, clients without TLS keep their connections, and each connection and each request counts once.
func TestOneServerOnSeveralListeners(t *testing.T) {
	eachOf(t, func(t *testing.T, tlsFirst bool) {
		cert, key := pair(t)
		one, two := freePort(t), freePort(t)
		p := plan{IdleGrace: patient, DrainTimeout: 2 * hung, MaxGenerations: 16,
			Again: [][3]string{{one}, {two, cert, key}}}
		if tlsFirst {
			p.Cert, p.Key, p.Again[1] = cert, key, [3]string{two}
		}
		s := start(t, p)
		plain, secure := []string{s.address(), one}, two
		if tlsFirst {
			plain, secure = []string{one, two}, s.address()
		}
		h2 := newHTTP2Client(t, secure, unchecked())
		s.wantCountedOnce(plain, secure, h2)
		var loads []*load
		for _, address := range plain {
			plainly := func() (*client, error) { return s.dialAt(address, false) }
			loads = append(loads, s.driveBy(plainly, 3, 0, 4*time.Millisecond))
		}
		l := s.driveBy(func() (*client, error) { return s.dialAt(secure, true) }, 2, 0, 4*time.Millisecond)
		var streams sync.WaitGroup
		quit := make(chan struct{})
		streams.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				default:
				}
				if err := h2.post("/echo", fmt.Sprint("stream ", n)); err != nil {
					t.Errorf("HTTP/2: %v", err)
					return
				}
			}
		})
		for range 4 {
			old := s.main().PID
			s.swap()
			for _, l := range append(loads, l) {
				l.settle()
			}
			s.wantExit(old, 0)
		}
		for _, l := range loads {
			l.end()
		}
		l.endWith(math.MaxInt)
		close(quit)
		streams.Wait()
		s.stop()
		s.wantNothingLost()
		s.wantQuickEnds(4 * patient)
	}, false, true)
}

// wantCountedOnce leaves nothing open but a connection of h2's.
func (s *service) wantCountedOnce(plain []string, secure string, h2 *http2Client) {
	s.Helper()
	var open []*client
	for i, address := range append(plain, secure) {
		c := have(s.dialAt(address, i == len(plain)))(s)
		open = append(open, c)
		for n := 1; n <= 2; n++ {
			if a, err := c.ask("GET", "/number", ""); err != nil || a.body != fmt.Sprint(n) {
				s.Errorf("%s: request %d: %+v, %v", address, n, a, err)
			}
		}
	}
	if err := h2.post("/echo", "hello"); err != nil {
		s.Error(err)
	}
	s.eventualStatus("each connection once", func(st drain.Status) bool {
		n := st.Open // and the one that asks
		return n.Idle == len(open) && n.Active == 1 && n.HTTP2 == 1 && n.Open() == len(open)+2
	})
	for _, c := range open {
		_ = c.Close()
	}
}

// Visitors who come by any listener of the server put off that a pull is noticed.
func TestPullIsNotNoticedWhileVisitorsComeToTheSecondListener(t *testing.T) {
	second := freePort(t)
	s := start(t, plan{PullMax: 2 * hung, Again: [][3]string{{second}}})
	probe := func() {
		t.Helper()
		c := s.connect()
		defer c.Close()
		if _, err := c.ask("GET", "/ping", ""); err != nil {
			t.Fatal(err)
		}
	}
	visit := func() {
		c, err := s.dialAt(second, false)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if a, err := c.ask("GET", "/number", ""); err != nil || a.body != "1" {
			t.Errorf("%+v, %v", a, err)
		}
	}
	const interval = 250 * time.Millisecond
	probes := time.NewTicker(interval)
	defer probes.Stop()
	var visitors sync.WaitGroup
	quit := make(chan struct{})
	var last time.Time
	var gap time.Duration // the longest between two visitors
	visitors.Go(func() {
		for last = time.Now(); !isClosed(quit) && !t.Failed(); last = time.Now() {
			visit()
			gap = max(gap, time.Since(last))
		}
	})
	for n := range 12 {
		<-probes.C
		probe()
		if n == 4 {
			s.signal(s.pgid, syscall.SIGUSR2)
			s.event(1, "pulled")
		}
	}
	close(quit)
	visitors.Wait()
	noticed := s.event(1, "pull noticed")
	if noticed.At < last.UnixNano() && gap < interval/2 { // with a longer one, this machine was too busy to tell
		t.Errorf("noticed %v before the last visitor", last.Sub(time.Unix(0, noticed.At)))
	}
	s.stop()
}

// onShutdown is what a program gives to http.Server.RegisterOnShutdown. To call it twice is a panic.
func (g *gen) onShutdown() {
	g.note("on shutdown")
	close(g.over)
}

// events is a stream that ends when the server shuts down.
func (g *gen) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	_ = http.NewResponseController(w).Flush()
	select {
	case <-g.over:
		_, _ = io.WriteString(w, "event: bye\n\n")
	case <-r.Context().Done():
	}
}

// stream begins a stream of events; what it returns wants its proper end.
func stream(t testing.TB, client *http.Client, url string) (wantBye func()) {
	t.Helper()
	resp := have(client.Get(url + "/events"))(t)
	t.Cleanup(func() { _ = resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); err != nil || line != "data: hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return func() {
		t.Helper()
		if b, err := io.ReadAll(r); err != nil || string(b) != "\nevent: bye\n\n" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

// What the program has registered is called when draining begins, once in each generation, however many
// listeners the server has, and not in a pull.
func TestOnShutdown(t *testing.T) {
	cert, key := pair(t)
	eachOf(t, func(t *testing.T, stops bool) {
		second, secure := freePort(t), freePort(t)
		s := start(t, plan{OnShutdown: true, DrainTimeout: 2 * hung, Again: [][3]string{{second}, {secure, cert, key}}})
		plain, h2 := &http.Client{Transport: new(http.Transport)}, newHTTP2Client(t, secure, unchecked())
		var byes []func()
		for _, address := range []string{s.address(), second} {
			byes = append(byes, stream(t, plain, "http://"+address))
		}
		byes = append(byes, stream(t, h2.Client, h2.url))
		s.signal(s.pgid, syscall.SIGUSR2)
		s.pullOver(0, 1)
		if slices.ContainsFunc(s.since(0), noted(1, "on shutdown")) {
			t.Error("called in a pull")
		}
		if stops {
			s.signal(s.pgid, syscall.SIGTERM)
		} else {
			s.signal(s.pgid, syscall.SIGUSR1)
			s.event(1, "restored")
			s.swap()
		}
		for _, bye := range byes {
			bye()
		}
		s.wantExit(s.pgid, 0)
		if !stops {
			s.stop()
		}
		s.gone()
		s.wantOnceEach("on shutdown")
		s.wantNothingLost()
		s.wantQuickEnds(hung)
	}, true, false)
}

// wantOnceEach wants the note once of each generation.
func (s *service) wantOnceEach(note string) {
	s.Helper()
	times := make(map[int]int)
	for _, r := range s.since(0) {
		if r.Note == note {
			times[r.Gen]++
		}
	}
	for gen := range s.main().Gen {
		if n := times[gen+1]; n != 1 {
			s.Errorf("%q %d times in generation %d", note, n, gen+1)
		}
	}
}
