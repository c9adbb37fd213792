//go:build linux

package systemdtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// client asks on one connection and never asks twice.
type client struct {
	bed  *bed
	conn net.Conn
	from *bufio.Reader
}

// do sends one request, on a connection of its own if there is none. The answer says whether the connection lives on.
func (c *client) do(method, path string, body []byte) (res *http.Response, answer []byte, err error) {
	if c.conn == nil {
		if c.conn, err = c.bed.dial(); err != nil {
			return nil, nil, err
		}
		c.from = bufio.NewReader(c.conn)
	}
	defer func() {
		if err != nil || res.Close {
			_ = c.conn.Close()
			c.conn = nil
		}
	}()
	req, err := http.NewRequest(method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if err = req.Write(c.conn); err != nil {
		return nil, nil, err
	}
	if res, err = http.ReadResponse(c.from, req); err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", res.Status, answer)
	}
	return res, answer, err
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

type identity struct {
	PID, Generation int
	Version         string
}

func (i identity) pid() string { return strconv.Itoa(i.PID) }

// whoami asks on a connection of its own.
func (b *bed) whoami() (who identity) {
	b.t.Helper()
	c := client{bed: b}
	defer c.close()
	_, answer, err := c.do("GET", "/whoami", nil)
	if err == nil {
		err = json.Unmarshal(answer, &who)
	}
	if err != nil {
		b.t.Fatalf("/whoami: %v", err)
	}
	return who
}

// load is clients that POST and never retry. What they have seen is complete after end.
type load struct {
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup

	mu         sync.Mutex // guards what follows
	requests   int
	failed     []error
	refused    int
	reconnects int // of those that keep their connection
	pids       map[string]int
}

// load starts clients that keep their connection, and others that open one for each request.
func (b *bed) load(keep, fresh int) *load {
	b.t.Helper()
	l := &load{t: b.t, stop: make(chan struct{}), pids: map[string]int{}}
	for i := range keep + fresh {
		l.wg.Go(func() { l.ask(&client{bed: b}, i < keep) })
	}
	b.t.Cleanup(func() { l.end() })
	l.flows(keep + fresh)
	return l
}

func (l *load) ask(c *client, keep bool) {
	defer c.close()
	body := bytes.Repeat([]byte("baton"), 20)
	for connected := false; ; {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(20 * time.Millisecond)): // think time
		}
		reconnects := connected && c.conn == nil
		res, answer, err := c.do("POST", "/echo", body)
		if err == nil && !bytes.Equal(answer, body) {
			err = fmt.Errorf("another body comes back: %q", answer)
		}
		l.mu.Lock()
		l.requests++
		if err != nil {
			l.failed = append(l.failed, err)
			if errors.Is(err, syscall.ECONNREFUSED) {
				l.refused++
			}
		} else {
			l.pids[res.Header.Get("X-Pid")]++
		}
		if reconnects && keep {
			l.reconnects++
		}
		l.mu.Unlock()
		connected = true
		if !keep {
			c.close()
			c.conn = nil
		}
	}
}

// flows waits until there have been n requests more.
func (l *load) flows(n int) {
	l.t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.requests
	}
	for from, end := count(), time.Now().Add(patience); count() < from+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("%d requests within %v, want %d", count()-from, patience, n)
		}
	}
}

func (l *load) end() *load {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
	return l
}

func (l *load) String() string {
	kinds := map[string]int{}
	for _, err := range l.failed {
		text := err.Error()
		if i := strings.LastIndex(text, ": "); i >= 0 {
			text = text[i+2:] // without ports, so that like counts with like
		}
		kinds[text]++
	}
	return fmt.Sprintf("%d requests, %d failed %v, %d refused, %d reconnects, answered by %d processes",
		l.requests, len(l.failed), kinds, l.refused, l.reconnects, len(l.pids))
}

// lossless ends the load and asserts that nothing failed and no connection was lost.
func (l *load) lossless() {
	l.t.Helper()
	l.end()
	l.t.Log(l)
	if len(l.failed) > 0 || l.reconnects > 0 {
		l.t.Errorf("%v, want 0 failed, 0 reconnects", l)
	}
}

// slow is a request in flight.
type slow struct {
	t    *testing.T
	pid  string
	err  error
	done chan struct{}
}

// slow returns when the service has begun to answer a request that takes d.
func (b *bed) slow(d time.Duration) *slow {
	b.t.Helper()
	s := &slow{t: b.t, done: make(chan struct{})}
	before := b.status().Open.Active
	go func() {
		defer close(s.done)
		c := client{bed: b}
		defer c.close()
		var res *http.Response
		if res, _, s.err = c.do("GET", "/slow?d="+d.String(), nil); s.err == nil {
			s.pid = res.Header.Get("X-Pid")
		}
	}()
	b.eventually("the slow request is in flight", func() bool { return b.status().Open.Active > before })
	return s
}

// inFlight asserts that it is not answered yet.
func (s *slow) inFlight() {
	s.t.Helper()
	select {
	case <-s.done:
		s.t.Fatalf("the slow request has ended already (%v): nothing is shown", s.err)
	default:
	}
}

// answered asserts that it has been answered by now, and by whom.
func (s *slow) answered(pid string) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatal("the slow request is not answered")
	}
	if s.err != nil || s.pid != pid {
		s.t.Errorf("the slow request: %v, answered by %q, want %s", s.err, s.pid, pid)
	}
}
