//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
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

// While the node is out, nothing is sent to it and nothing counts as failed.
func TestSentElsewhere(t *testing.T) {
	s := newFakeServer(t, func(_ *net.TCPConn, request func() (string, bool)) { request() })
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

func TestOutcomes(t *testing.T) {
	for o, name := range outcomeNames {
		err := fail(outcome(o), "for a reason")
		if outcome(o) == ok {
			err = nil
		}
		if got := outcomeOf(err); got != outcome(o) {
			t.Errorf("%s counts as %s", name, outcomeNames[got])
		}
	}
	if got := outcomeOf(net.ErrClosed); got != other {
		t.Errorf("an error that nobody knows counts as %s", outcomeNames[got])
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	c := newLoad(config{}, ln.Addr().String(), newStats(), always).client()
	if got := outcomeOf(c.Connect()); got != refused {
		t.Errorf("nobody listens: that counts as %s", outcomeNames[got])
	}
}
