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
		case <-time.After(rand.N(40 * time.Millisecond)): // think time
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

// held is a request in flight: the service has begun to read its body, whose end it gets at the test's word.
type held struct {
	client
	pid string // of the process that has it
}

const heldBody = "in flight"

func (b *bed) hold() *held {
	b.t.Helper()
	h := &held{client: client{bed: b}, pid: b.whoami().pid()}
	var err error
	if h.conn, err = b.dial(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(h.close)
	h.from = bufio.NewReader(h.conn)
	_ = h.conn.SetDeadline(time.Now().Add(3 * patience))
	fmt.Fprintf(h.conn, "POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(heldBody))
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} { // which net/http says when the handler reads
		if line, err := h.from.ReadString('\n'); line != want {
			b.t.Fatalf("a request that waits gets %q (%v), want %q", line, err, want)
		}
	}
	return h
}

// answered lets the request go on, and asserts that the process which has begun with it answers.
func (h *held) answered() {
	t := h.bed.t
	t.Helper()
	fmt.Fprint(h.conn, heldBody)
	res, err := http.ReadResponse(h.from, nil)
	if err != nil {
		t.Errorf("the request in flight: %v", err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if pid := res.Header.Get("X-Pid"); err != nil || string(body) != heldBody || pid != h.pid {
		t.Errorf("the request in flight: %q, %v from pid %s, want its body from pid %s", body, err, pid, h.pid)
	}
}
