//go:build unix

package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/visitors"
)

func always() bool { return true }

// A server that takes requests and closes without a word: each is a failed request, and none is sent a second time.
func TestLoadNeverResends(t *testing.T) {
	for _, how := range []outcome{eof, reset} {
		t.Run(outcomeNames[how], func(t *testing.T) {
			var mu sync.Mutex
			got := map[string]int{} // bodies, and how often each came
			sent := 0
			enough := make(chan struct{})
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				mu.Lock()
				defer mu.Unlock()
				got[string(b)]++
				if sent++; sent == 30 {
					close(enough)
				}
				c, _, _ := http.NewResponseController(w).Hijack()
				if how == reset {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}))
			st := newStats()
			few := visitors.Mix{Clients: 3, Idle: 1, IdleThink: time.Millisecond, Fresh: 200, Slow: 1, Odd: 1}
			l := newLoad(config{Mix: few}, s.Listener.Addr().String(), st, always)
			l.Start()
			<-enough
			l.Stop()
			s.Close()
			for body, times := range got {
				if body != "" && times != 1 {
					t.Errorf("%q came %d times", body, times)
				}
			}
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
			if st.reconnectsBy(st.now(), visitors.Class.Kept) == 0 {
				t.Error("no reconnects were counted")
			}
		})
	}
}

// While the node is out, nothing is sent to it and nothing counts as failed.
func TestSentElsewhere(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s comes", r.Method, r.URL)
	}))
	defer s.Close()
	st := newStats()
	asked := make(chan struct{}, 20)
	few := config{Mix: visitors.Mix{Clients: 2, Fresh: 100, Odd: 1, Slow: 1}}
	l := newLoad(few, s.Listener.Addr().String(), st, func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return false
	})
	l.Start()
	for range cap(asked) {
		<-asked
	}
	l.Stop()
	if n := len(st.all()); n > 0 {
		t.Errorf("%d requests were counted", n)
	}
	if st.elsewhere < 20 {
		t.Errorf("%d were sent elsewhere", st.elsewhere)
	}
}

func TestOutcomes(t *testing.T) {
	for o, name := range outcomeNames {
		err := error(&draintest.Failure{Kind: name, Err: errors.New("for a reason")})
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
	c := draintest.Client{Addr: ln.Addr().String()}
	if got := outcomeOf(c.Connect()); got != refused {
		t.Errorf("nobody listens: that counts as %s", outcomeNames[got])
	}
}
