package health

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baton-go/baton/health/internal/ledger"
)

// serve returns the address of a server with s on /ping and /livez.
func serve(t *testing.T, s *State) string {
	mux := http.NewServeMux()
	mux.Handle("/ping", s)
	mux.Handle("/livez", s.Live())
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

var date = regexp.MustCompile(`Date: [^\r]*`)

// exchange sends a request and returns the bytes up to the end of the stream.
func exchange(t *testing.T, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return date.ReplaceAllString(string(b), "Date: now")
}

// lines is the head of a response as it is on the wire, and its body.
func lines(s ...string) string { return strings.Join(s, "\r\n") }

func TestAnswersByteForByte(t *testing.T) {
	const (
		ok     = `{"code":0,"message":"success"}`
		pulled = `{"code":-1,"message":"gone \"fishing\""}`
		no     = `{"code":-1,"message":"method not allowed"}`
	)
	healthy := func(proto, body string) string {
		head := lines(proto+" 200 OK", "Cache-Control: no-store", "Content-Length: 30",
			"Content-Type: application/json", "Date: now")
		if proto == "HTTP/1.1" { // an HTTP/1.0 client expects the close anyway
			head = lines(head, "Connection: close")
		}
		return lines(head, "", body)
	}
	failing := func(proto, status, body string) string {
		return lines(proto+" "+status, "Cache-Control: no-store", "Connection: close", "Content-Length: 40",
			"Content-Type: application/json",
			"Date: now", "", body)
	}
	refused := lines("HTTP/1.1 405 Method Not Allowed", "Allow: GET, HEAD, OPTIONS", "Cache-Control: no-store",
		"Content-Length: 42",
		"Content-Type: application/json", "Date: now", "Connection: close", "", no)
	const rest = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
		ready, pulled string
	}{
		{"GET", "GET /ping" + rest, 0, healthy("HTTP/1.1", ok),
			failing("HTTP/1.1", "501 Not Implemented", pulled)},
		{"HEAD", "HEAD /ping" + rest, 0, healthy("HTTP/1.1", ""),
			failing("HTTP/1.1", "501 Not Implemented", "")},
		{"OPTIONS", "OPTIONS /ping" + rest, 0, healthy("HTTP/1.1", ok),
			failing("HTTP/1.1", "501 Not Implemented", pulled)},
		{"503", "GET /ping" + rest, 503, healthy("HTTP/1.1", ok),
			failing("HTTP/1.1", "503 Service Unavailable", pulled)},
		{"HTTP/1.0 without Host", "GET /ping HTTP/1.0\r\n\r\n", 0, healthy("HTTP/1.0", ok),
			failing("HTTP/1.0", "501 Not Implemented", pulled)},
		{"HTTP/1.0 HEAD without Host", "HEAD /ping HTTP/1.0\r\n\r\n", 0, healthy("HTTP/1.0", ""),
			failing("HTTP/1.0", "501 Not Implemented", "")},
		{"HTTP/1.0 OPTIONS without Host", "OPTIONS /ping HTTP/1.0\r\n\r\n", 0, healthy("HTTP/1.0", ok),
			failing("HTTP/1.0", "501 Not Implemented", pulled)},
		{"POST", "POST /ping" + rest, 0, refused, refused},
		{"livez", "GET /livez" + rest, 0, healthy("HTTP/1.1", ok), healthy("HTTP/1.1", ok)},
		{"livez HEAD", "HEAD /livez" + rest, 0, healthy("HTTP/1.1", ""), healthy("HTTP/1.1", "")},
		{"livez POST", "POST /livez" + rest, 0, refused, refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newState(t, Config{Status: tc.status, Message: `gone "fishing"`})
			addr := serve(t, s)
			if got := exchange(t, addr, tc.request); got != tc.ready {
				t.Errorf("ready:\n%q, want\n%q", got, tc.ready)
			}
			s.Pull()
			if got := exchange(t, addr, tc.request); got != tc.pulled {
				t.Errorf("pulled:\n%q, want\n%q", got, tc.pulled)
			}
			s.Restore()
			if got := exchange(t, addr, tc.request); got != tc.ready {
				t.Errorf("restored:\n%q, want\n%q", got, tc.ready)
			}
		})
	}
}

// Over HTTP/2 net/http makes a GOAWAY of "Connection: close": what else the client has sent would be lost.
func TestNoAnswerEndsAConnectionOfHTTP2(t *testing.T) {
	s := newState(t, Config{})
	s.Pull()
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2 = true
	var conns atomic.Int32
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for i := range 20 {
		r, err := http.NewRequest(http.MethodGet, srv.URL, nil)
		if i%2 == 1 {
			r, err = http.NewRequest(http.MethodOptions, srv.URL, strings.NewReader("with a body"))
		}
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || resp.StatusCode != 501 || resp.ProtoMajor != 2 || len(body) == 0 {
			t.Errorf("%s %s, %q, %v", resp.Proto, resp.Status, body, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
}

func TestAKeptAliveConnectionIsClosedWithTheFirstFailingAnswer(t *testing.T) {
	s := newState(t, Config{})
	c, err := net.Dial("tcp", serve(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	ask := func() *http.Response {
		t.Helper()
		if _, err := io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for range 2 {
		if resp := ask(); resp.StatusCode != 200 || resp.Close {
			t.Fatalf("healthy: status %d, close %v", resp.StatusCode, resp.Close)
		}
	}
	s.Pull()
	if resp := ask(); resp.StatusCode != 501 || !resp.Close {
		t.Fatalf("pulled: status %d, close %v", resp.StatusCode, resp.Close)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the failing answer: %v, want EOF", err)
	}
}

func TestTheProberHasItsAnswerBeforeThePullIsNoticed(t *testing.T) {
	s := newState(t, Config{Failures: 1})
	addr := serve(t, s)
	const get = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	exchange(t, addr, get)
	s.Pull()
	if closed(s.Noticed()) {
		t.Fatal("noticed before the probe")
	}
	if got := exchange(t, addr, get); !strings.Contains(got, "501") {
		t.Fatalf("answer %q", got)
	}
	<-s.Noticed()
}

// discard is a ResponseWriter that costs nothing itself.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func TestTheHealthyAnswerDoesNotAllocate(t *testing.T) {
	s := newState(t, Config{})
	for _, remote := range []string{"10.0.0.1:4711", "[2001:db8::1]:4711", "@", "pipe"} {
		// Boxed once: the interface value is net/http's to allocate.
		var w http.ResponseWriter = discard{http.Header{}}
		r := request("GET", remote, "balancer/1")
		if n := testing.AllocsPerRun(1000, func() { s.ServeHTTP(w, r) }); n != 0 {
			t.Errorf("from %s: %v allocations", remote, n)
		}
	}
}

func BenchmarkHealthyAnswer(b *testing.B) {
	for _, probers := range []int{1, ledger.MaxProbers} {
		b.Run(fmt.Sprintf("probers=%d", probers), func(b *testing.B) {
			s := newState(b, Config{})
			for i := range probers {
				probe(s, fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var w http.ResponseWriter = discard{http.Header{}}
				r := request("GET", "10.0.0.0:1", "balancer/1")
				for pb.Next() {
					s.ServeHTTP(w, r)
				}
			})
		})
	}
}

func BenchmarkFailingAnswer(b *testing.B) {
	s := newState(b, Config{PullMin: 1 << 40, PullMax: 1 << 41})
	for i := range ledger.MaxProbers {
		probe(s, fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
	}
	s.Pull()
	var w http.ResponseWriter = discard{http.Header{}}
	r := request("GET", "10.0.0.0:1", "balancer/1")
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

func BenchmarkScanFromManyAddresses(b *testing.B) {
	s := newState(b, Config{})
	var w http.ResponseWriter = discard{http.Header{}}
	r := request("GET", "", "scanner")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255)
		s.ServeHTTP(w, r)
	}
}
