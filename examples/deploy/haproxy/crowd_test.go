//go:build linux

package haproxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// ask sends a request on a connection of its own and reads what comes, if anything does.
func ask(addr, request string) {
	nc, err := net.DialTimeout("tcp", addr, flow.Patience)
	if err != nil {
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(flow.Patience))
	if _, err := io.WriteString(nc, request); err == nil {
		_, _ = io.Copy(io.Discard, nc)
	}
}

// meanwhile asks again and again until the test is over.
func meanwhile(t testing.TB, addr string, pause func() time.Duration, request func() string) {
	var wg sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); wg.Wait() })
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause()):
				wg.Go(func() { ask(addr, request()) })
			}
		}
	})
}

func even(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

func random(mean time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(float64(mean) * rand.ExpFloat64()) }
}

// TestClientsAskForPing: through HAProxy, from whose address they come then, and with as few headers as its own checks.
func TestClientsAskForPing(t *testing.T) {
	t.Parallel()
	const simple, full = "option httpchk GET /ping",
		"option httpchk\n\thttp-check send meth GET uri /ping ver HTTP/1.1 hdr Host app"
	for _, tc := range []struct {
		name, check string
		pause       func() time.Duration // twice as many as a node gets
	}{
		{"5 a second", simple, even(100 * time.Millisecond)},
		{"5 a second, at random", simple, random(100 * time.Millisecond)},
		{"50 a second", simple, even(10 * time.Millisecond)},
		{"5 a second, forwardfor", simple + "\n\toption forwardfor", even(100 * time.Millisecond)},
		{"5 a second, as HAProxy asks", full, even(100 * time.Millisecond)},
		{"2 a second, as HAProxy asks, at random", full, random(250 * time.Millisecond)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			config := strings.Replace(shipped(t, "haproxy.cfg"), "option httpchk GET /ping", tc.check, 1)
			s := newSite(t, config, "2s", long...)
			host, _, _ := net.SplitHostPort(s.Addr)
			known(t, s.a, host)
			meanwhile(t, s.Addr, tc.pause, func() string {
				return "GET /ping HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"
			})
			load := flow.NewLoad(t, s.Addr, 4, 2)
			load.Flows(800)
			succeeds(t, begin(t, s.a, "stop"))
			outBeforeDraining(t, s.a, s.balancer)
			if late := draining(t, s.a).Sub(s.event("a", "DOWN")); late > 2*time.Second+slack {
				t.Errorf("it stopped accepting %v after HAProxy had taken it out", late)
			}
			load.Lossless()
		})
	}
}

// TestOutsiders: who is no balancer holds up a stop for 3 s at most, alone or beside one.
func TestOutsiders(t *testing.T) {
	t.Parallel()
	const most = 3 * time.Second
	get := func(agent string) string {
		return "GET /ping HTTP/1.1\r\nHost: app\r\nUser-Agent: " + agent + "\r\nConnection: close\r\n\r\n"
	}
	half := func(method string) string {
		return method + " /ping HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\nhalf"
	}
	for _, tc := range []struct {
		name    string
		request func() string
		pause   func() time.Duration // nil: once
	}{
		{"curl", func() string { return get("curl") }, nil},
		{"random probers", func() string { return get(fmt.Sprint(rand.Int())) }, random(200 * time.Millisecond)},
		{"a slow body", func() string { return half("GET") }, nil},
		{"slow bodies", func() string { return half("HEAD") }, random(100 * time.Millisecond)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := flow.NewNode(t, flow.Host()+":8081", flow.Build(t, "nethttp", "v1", ""))
			n.Control("start")
			if tc.pause == nil {
				ask(n.Addr, tc.request())
			} else {
				meanwhile(t, n.Addr, tc.pause, tc.request)
				time.Sleep(2 * time.Second) // of their work
			}
			succeeds(t, begin(t, n, "stop")) // and so the exit code is 0
			// Between two lines of the service's own log: control.sh takes its time on a busy machine.
			took := draining(t, n).Sub(logged(t, n, stoppingLine))
			t.Logf("it went on accepting for %v", took)
			if took > most+2*time.Second { // a process may be stopped for that long
				t.Errorf("outsiders held up the stop for %v, want %v at most", took, most)
			}
		})
	}
	t.Run("beside HAProxy", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, shipped(t, "haproxy.cfg"), "2s", long...)
		host, _, _ := net.SplitHostPort(s.Addr)
		known(t, s.a, host)
		meanwhile(t, s.a.Addr, random(200*time.Millisecond), func() string { return get(fmt.Sprint(rand.Int())) })
		load := flow.NewLoad(t, s.Addr, 4, 2)
		load.Flows(400)
		ask(s.a.Addr, get("curl"))
		succeeds(t, begin(t, s.a, "stop"))
		outBeforeDraining(t, s.a, s.balancer)
		if late := draining(t, s.a).Sub(s.event("a", "DOWN")); late > 2*time.Second+slack {
			t.Errorf("it stopped accepting %v after HAProxy had taken it out", late)
		}
		load.Lossless()
	})
}
