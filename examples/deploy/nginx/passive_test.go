//go:build linux

package nginx

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// TestPassive is why one does all this. nginx learns that an instance has gone
// from a request that goes wrong there. A GET is then run once more by the other
// instance, though the first may have run it; a POST is lost.
func TestPassive(t *testing.T) {
	for method, wantLost := range map[string]bool{"GET": false, "POST": true} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			host := flow.Host()
			dropped := dropping(t, host+":8081")
			defer plain(t, host+":8082", "other")()
			start(t, flow.Dir(t), host)
			c := &draintest.Client{Addr: host + ":8080"}
			defer c.Close()
			var last error
			flow.Eventually(t, "a request meets a connection that is about to be closed", func() bool {
				_, last = c.Do(method, "/echo", nil)
				return dropped.Load() > 0
			})
			if (last != nil) != wantLost {
				t.Errorf("%s on a connection that the instance has closed: %v; lost: want %v", method, last, wantLost)
			}
		})
	}
}

// dropping closes a kept-alive connection when its second request has come, as a
// process does that crashes, or that calls Server.Shutdown at that moment. It
// returns how often it has.
func dropping(t *testing.T, addr string) *atomic.Int32 {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var dropped atomic.Int32
	serve := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		for n := range 2 {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if n == 1 {
				dropped.Add(1)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return &dropped
}

// plain serves as most programs do, and returns how these stop.
func plain(t testing.TB, addr, answer string) (stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, answer)
		_, _ = w.Write(body)
	})}
	go func() { _ = srv.Serve(ln) }()
	return func() { _ = srv.Shutdown(context.Background()) }
}

// BenchmarkPassive restarts a plain net/http server behind nginx, under load, and
// says how many POSTs a restart costs.
func BenchmarkPassive(b *testing.B) {
	host, dir := flow.Host(), flow.Dir(b)
	stop := plain(b, host+":8081", "")
	defer plain(b, host+":8082", "")()
	start(b, dir, host)
	load := flow.NewLoad(b, host+":8080", 8, 8)
	for b.Loop() {
		stop()
		load.Flows(10)
		stop = plain(b, host+":8081", "")
		load.Flows(50)
	}
	stop()
	load.End()
	log, err := os.ReadFile(filepath.Join(dir, "error.log"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(load.Failed())/float64(b.N), "lost/restart")
	b.ReportMetric(float64(strings.Count(string(log), "Connection refused"))/float64(b.N), "sent-elsewhere/restart")
	b.ReportMetric(float64(load.Requests())/float64(b.N), "requests/restart")
}
