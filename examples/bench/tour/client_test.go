//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeServer calls serve for each connection and remembers every request that it was sent, in full or not.
type fakeServer struct {
	addr string
	mu   sync.Mutex
	got  map[string]int // bodies, and how often each came
	seen chan struct{}  // one for each request
}

func newFakeServer(t *testing.T, serve func(c *net.TCPConn, request func() (body string, ok bool))) *fakeServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{addr: ln.Addr().String(), got: map[string]int{}, seen: make(chan struct{}, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				serve(c.(*net.TCPConn), func() (string, bool) {
					r, err := http.ReadRequest(br)
					if err != nil {
						return "", false
					}
					b, err := io.ReadAll(r.Body)
					s.mu.Lock()
					s.got[string(b)]++
					s.mu.Unlock()
					select {
					case s.seen <- struct{}{}:
					default: // nobody waits for so many
					}
					return string(b), err == nil
				})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return s
}

func echoTo(c net.Conn, body, headers string) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Pid: 7\r\nX-Generation: 3\r\n%s\r\n%s", len(body),
		headers, body)
}

func always() bool { return true }

// A server that takes requests and closes without a word: each is a failed request, and none is sent a second time.
func TestLoadNeverResends(t *testing.T) {
	const enough = 30
	for _, how := range []outcome{eof, reset} {
		t.Run(outcomeNames[how], func(t *testing.T) {
			s := newFakeServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				request()
				if how == reset {
					c.SetLinger(0)
				}
			})
			st := newStats()
			l := newLoad(config{clients: 3, idle: 1, idleThink: time.Millisecond, fresh: 200, slow: 1, odd: 1}, s.addr,
				st, always)
			l.start()
			for range enough {
				<-s.seen
			}
			l.stop()
			sent := 0
			s.mu.Lock()
			for body, times := range s.got {
				if body != "" && times != 1 {
					t.Errorf("%q came %d times", body, times)
				}
				sent += times
			}
			s.mu.Unlock()
			byKind, failed := failures(st.all(), func(record) bool { return true })
			if failed < sent {
				t.Errorf("%d requests were sent and %d counted as failed", sent, failed)
			}
			if byKind[how] == 0 {
				t.Errorf("no failure counts as %s: %s", outcomeNames[how], kinds(byKind))
			}
			if answered := len(st.all()) - failed; answered != 0 {
				t.Errorf("%d requests count as answered", answered)
			}
			if st.reconnectsBy(st.now(), class.kept) == 0 {
				t.Error("no reconnects were counted")
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	tests := []struct {
		want  outcome
		serve func(c *net.TCPConn, body string)
	}{
		{ok, func(c *net.TCPConn, body string) { echoTo(c, body, "") }},
		{eof, func(*net.TCPConn, string) {}},
		{reset, func(c *net.TCPConn, _ string) { c.SetLinger(0) }},
		{timeout, func(c *net.TCPConn, _ string) { io.Copy(io.Discard, c) }},
		{truncated, func(c *net.TCPConn, _ string) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-") }},
		{truncated, func(c *net.TCPConn, _ string) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") }},
		{mismatch, func(c *net.TCPConn, body string) { echoTo(c, strings.ToUpper(body), "") }},
		{mismatch, func(c *net.TCPConn, body string) { echoTo(c, "", "") }},
		{status, func(c *net.TCPConn, _ string) {
			io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		}},
		{malformed, func(c *net.TCPConn, _ string) { io.WriteString(c, "SSH-2.0-nothing to see here\r\n") }},
		{malformed, func(c *net.TCPConn, _ string) { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n") }},
	}
	for _, tt := range tests {
		t.Run(outcomeNames[tt.want], func(t *testing.T) {
			s := newFakeServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				if body, ok := request(); ok {
					tt.serve(c, body)
				}
			})
			c := client{addr: s.addr, timeout: time.Minute}
			if err := c.dial(context.Background()); err != nil {
				t.Fatal(err)
			}
			if tt.want == timeout {
				c.timeout = 50 * time.Millisecond
			}
			defer c.close()
			a, err := c.roundTrip(appendPost(nil, []byte("lower case")))
			if err == nil {
				err = a.expect([]byte("lower case"))
			}
			if got := outcomeOf(err); got != tt.want {
				t.Errorf("counts as %s, want %s: %v", outcomeNames[got], outcomeNames[tt.want], err)
			}
			if tt.want == ok && (a.pid != 7 || a.generation != 3 || a.close) {
				t.Errorf("read %+v", a)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := client{addr: ln.Addr().String(), timeout: 5 * time.Second}
	ln.Close()
	if got := outcomeOf(c.dial(context.Background())); got != refused {
		t.Errorf("counts as %s", outcomeNames[got])
	}
}

// testUser is a keep-alive client that is driven by hand.
func testUser(addr string) (*user, *stats) {
	st := newStats()
	l := newLoad(config{}, addr, st, always)
	return l.user(keepalive, st.recorder()), st
}

func (u *user) post(t *testing.T) {
	t.Helper()
	if !u.ready(0) {
		t.Fatal("no connection")
	}
	a, err := u.roundTrip(appendPost(nil, []byte("hello")))
	if err == nil {
		err = a.expect([]byte("hello"))
	}
	u.count(u.load.stats.now(), a, err)
}

// A connection that the server closes between two requests costs a reconnect and no request, whether it is announced
// or not.
func TestClosedAtRest(t *testing.T) {
	for _, announced := range []bool{false, true} {
		t.Run(fmt.Sprint(announced), func(t *testing.T) {
			s := newFakeServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				if body, ok := request(); ok {
					echoTo(c, body, map[bool]string{true: "Connection: close\r\n"}[announced])
				}
			})
			u, st := testUser(s.addr)
			defer u.close()
			u.post(t)
			for u.conn != nil { // until the close has reached us; an announced one has
				if closed, err := u.closedAtRest(); err != nil {
					t.Fatal(err)
				} else if closed {
					break
				}
				time.Sleep(time.Millisecond)
			}
			u.post(t)
			if _, n := failures(st.all(), func(record) bool { return true }); n != 0 {
				t.Errorf("%d failures: %s", n, st.firstErr)
			}
			if n := st.reconnectsBy(st.now(), class.kept); n != 1 {
				t.Errorf("%d reconnects, want 1", n)
			}
		})
	}
}

// An answer that nobody asked for must not pass for the answer to the next request.
func TestUnaskedBytes(t *testing.T) {
	written := make(chan struct{}, 1)
	s := newFakeServer(t, func(c *net.TCPConn, request func() (string, bool)) {
		body, _ := request()
		echoTo(c, body, "")
		echoTo(c, body, "")
		written <- struct{}{}
		request()
	})
	u, st := testUser(s.addr)
	u.post(t)
	<-written
	for len(st.all()) < 2 { // until the bytes have reached us
		if !u.ready(0) {
			t.Fatal("no connection")
		}
		time.Sleep(time.Millisecond)
	}
	u.close()
	if byKind, _ := failures(st.all(), func(record) bool { return true }); byKind[unasked] != 1 {
		t.Errorf("failures: %s", kinds(byKind))
	}
}

// While the node is out, nothing is sent to it and nothing counts as failed.
func TestSentElsewhere(t *testing.T) {
	s := newFakeServer(t, func(c *net.TCPConn, request func() (string, bool)) {
		for {
			body, ok := request()
			if !ok {
				return
			}
			echoTo(c, body, "")
		}
	})
	st := newStats()
	var asked sync.WaitGroup
	asked.Add(20)
	n := 0
	var mu sync.Mutex
	l := newLoad(config{clients: 2, fresh: 100, odd: 1, slow: 1}, s.addr, st, func() bool {
		mu.Lock()
		defer mu.Unlock()
		if n++; n <= 20 {
			asked.Done()
		}
		return false
	})
	l.start()
	asked.Wait()
	l.stop()
	if len(s.got) > 0 || len(st.all()) > 0 {
		t.Errorf("%d requests came, %d were counted", len(s.got), len(st.all()))
	}
	if st.elsewhere < 20 {
		t.Errorf("%d were sent elsewhere", st.elsewhere)
	}
}
