//go:build linux

package flow

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Client asks on one connection and never asks twice. The zero value with a
// Dial is ready.
type Client struct {
	Dial func() (net.Conn, error)
	Host string // of the requests
	conn net.Conn
	from *bufio.Reader
}

// Do sends one request, on a connection of its own if there is none, or if
// the other side has closed it: like any good client it looks before it sends.
func (c *Client) Do(method, path string, body []byte) (res *http.Response, answer []byte, err error) {
	if c.conn != nil && ClosedAtRest(c.conn.(syscall.Conn)) {
		c.Close()
	}
	if c.conn == nil {
		if c.conn, err = c.Dial(); err != nil {
			return nil, nil, err
		}
		c.from = bufio.NewReader(c.conn)
	}
	defer func() {
		if err != nil || res.Close {
			c.Close()
		}
	}()
	req, err := http.NewRequest(method, "http://"+c.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	_ = c.conn.SetDeadline(time.Now().Add(Patience))
	if err = req.Write(c.conn); err != nil {
		return nil, nil, err
	}
	if res, err = http.ReadResponse(c.from, req); err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %.80s", res.Status, answer)
	}
	return res, answer, err
}

// ClosedAtRest looks, without waiting, whether the other side has closed.
func ClosedAtRest(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	var b [1]byte
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return closed || err != nil
}

// Close closes the connection, if there is one.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Load is clients that POST and never retry. The counts are complete after End.
type Load struct {
	t       testing.TB
	dial    func() (net.Conn, error)
	host    string
	stop    chan struct{}
	wg      sync.WaitGroup
	started time.Time

	mu         sync.Mutex // guards what follows
	requests   int
	failed     []error
	reconnects int            // of those that keep their connection
	by         map[string]int // answers, by X-Pid
}

// NewLoad starts keep clients that keep their connection to addr, and fresh
// ones that open one for each request. It returns when each has been answered.
func NewLoad(t testing.TB, addr string, keep, fresh int) *Load {
	t.Helper()
	return NewLoadBy(t, func() (net.Conn, error) { return net.DialTimeout("tcp", addr, Patience) }, addr, keep, fresh)
}

// NewLoadBy is NewLoad for clients that connect by dial, and name host.
func NewLoadBy(t testing.TB, dial func() (net.Conn, error), host string, keep, fresh int) *Load {
	t.Helper()
	l := &Load{t: t, dial: dial, host: host, stop: make(chan struct{}), started: time.Now(), by: map[string]int{}}
	for i := range keep + fresh {
		l.wg.Go(func() { l.ask(i < keep) })
	}
	t.Cleanup(func() { l.End() })
	l.Flows(2 * (keep + fresh))
	return l
}

func (l *Load) ask(keep bool) {
	dials := 0
	c := &Client{Host: l.host, Dial: func() (net.Conn, error) { dials++; return l.dial() }}
	defer c.Close()
	body := bytes.Repeat([]byte("baton"), 20)
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(40 * time.Millisecond)): // think time
		}
		res, answer, err := c.Do("POST", "/echo", body)
		if err == nil && !bytes.Equal(answer, body) {
			err = fmt.Errorf("another body comes back: %q", answer)
		}
		l.mu.Lock()
		l.requests++
		if err != nil {
			l.failed = append(l.failed, fmt.Errorf("%v after the start: %w", time.Since(l.started).Round(time.Millisecond), err))
		} else {
			l.by[res.Header.Get("X-Pid")]++
		}
		if keep && dials > 1 {
			l.reconnects++
			dials = 1
		}
		l.mu.Unlock()
		if !keep {
			c.Close()
		}
	}
}

// Requests returns how many have been answered, or have failed, so far.
func (l *Load) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

// Failed returns how many have failed so far.
func (l *Load) Failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed)
}

// Refused returns how many of them have not even found somebody who listens.
func (l *Load) Refused() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.failed {
		if errors.Is(err, syscall.ECONNREFUSED) {
			n++
		}
	}
	return n
}

// Reconnects returns how often a client that keeps its connection has lost it.
func (l *Load) Reconnects() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reconnects
}

// By returns how many requests the process has answered.
func (l *Load) By(pid int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[fmt.Sprint(pid)]
}

// Flows waits until there have been n requests more.
func (l *Load) Flows(n int) {
	l.t.Helper()
	from := l.Requests()
	Eventually(l.t, fmt.Sprintf("%d requests more than %d", n, from), func() bool { return l.Requests() >= from+n })
}

// Reaches waits until the process has answered n requests more.
func (l *Load) Reaches(pid, n int) {
	l.t.Helper()
	from := l.By(pid)
	Eventually(l.t, fmt.Sprintf("%d requests more than %d for pid %d", n, from, pid),
		func() bool { return l.By(pid) >= from+n })
}

// End ends the load and waits for the last answers. Ending twice is the same.
func (l *Load) End() *Load {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
	return l
}

// Lossless ends the load and asserts that nothing has failed and that clients
// have kept their connections.
func (l *Load) Lossless() {
	l.t.Helper()
	l.End()
	l.t.Log(l)
	if len(l.failed) > 0 || l.reconnects > 0 {
		l.t.Errorf("%v, want 0 failed, 0 reconnects", l)
	}
}

func (l *Load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d failed, %d reconnects, answered by %d processes", l.requests, len(l.failed),
		l.reconnects, len(l.by))
	for i, err := range l.failed {
		if i == 10 {
			b.WriteString("\n  …")
			break
		}
		fmt.Fprintf(&b, "\n  %v", err)
	}
	return b.String()
}
