//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

// crowd is clients that keep their connections and never retry: a third each of HTTP/1.1, HTTP/1.1 over TLS and HTTP/2.
type crowd struct {
	*bed
	loads    []*draintest.Load
	h2       []*http2Conn
	stopping atomic.Bool // a client that finds nobody has sent nothing

	mu     sync.Mutex // guards what follows
	sums   map[string]float64
	counts map[string]int // of what was acknowledged, by group
	text   string         // the last text that was acknowledged
	failed []error
	waits  []wait
}

// wait is from the end of a request to the end of its answer.
type wait struct {
	begun time.Time
	took  time.Duration
}

// insecure is for a certificate that the test has made itself.
func insecure(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
}

func newCrowd(b *bed, n int) *crowd {
	b.Helper()
	c := &crowd{bed: b, sums: map[string]float64{}, counts: map[string]int{}}
	plain := func() (net.Conn, error) { return net.DialTimeout("tcp", b.addr, flow.Patience) }
	secure := func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: flow.Patience}, "tcp", b.tlsAddr, insecure("http/1.1"))
	}
	nowhere := func() (net.Conn, error) { // c.h2 has the connections
		near, _ := net.Pipe()
		return near, nil
	}
	for range 1 + n/24 { // of eight clients each
		c.h2 = append(c.h2, &http2Conn{addr: b.tlsAddr})
	}
	c.start("plain", n-n/3*2, plain, c.over1)
	c.start("secure", n/3, secure, c.over1)
	h2 := func(_ *draintest.Client, i int, group, body string, rest time.Duration) (time.Time, error) {
		return c.h2[i%len(c.h2)].push(group, body, rest)
	}
	c.start("h2", n/3, nowhere, h2)
	c.start("writer", 1, plain, nil)
	c.settle()
	return c
}

// start starts n clients. Push returns when the last of the request was sent.
func (c *crowd) start(kind string, n int, dial func() (net.Conn, error),
	push func(_ *draintest.Client, i int, group, body string, rest time.Duration) (time.Time, error)) {
	l := &draintest.Load{Keep: n}
	l.Client = draintest.Client{Addr: "pushes", Dial: dial, Timeout: flow.Patience, Blind: kind == "secure"}
	l.Think = func(draintest.Result) time.Duration { return rand.N(20 * time.Millisecond) }
	l.Ask = func(d *draintest.Client, i, k int) (draintest.Answer, error) {
		if push == nil {
			return c.explain(d, k)
		}
		group, number := fmt.Sprintf("%s_%d", kind, i), float64(rand.IntN(1000))
		rest := time.Duration(0)
		if rand.IntN(50) == 0 { // its handler runs as long
			rest = 100*time.Millisecond + rand.N(200*time.Millisecond)
		}
		sent, err := push(d, i, group, fmt.Sprintf("pushes 1\nnumbers %v\n", number), rest)
		took := time.Since(sent)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.counts[group]++
			c.sums[group] += number
			c.waits = append(c.waits, wait{sent, took})
		}
		return draintest.Answer{}, err
	}
	l.Each = func(r draintest.Result) {
		var f *draintest.Failure
		nobody := errors.Is(r.Err, errNobody) || errors.As(r.Err, &f) && f.Kind == "refused"
		if r.Err == nil || nobody && c.stopping.Load() {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed = append(c.failed, fmt.Errorf("%s, client %d: %w", kind, r.Client, r.Err))
	}
	l.Start(context.Background())
	c.Cleanup(func() { l.Stop() })
	c.loads = append(c.loads, l)
}

// over1 is a request of HTTP/1.1.
func (c *crowd) over1(d *draintest.Client, _ int, group, body string, rest time.Duration) (time.Time, error) {
	head := fmt.Sprintf("POST /push/%s HTTP/1.1\r\nHost: pushes\r\nContent-Length: %d\r\n\r\n", group, len(body))
	err := d.Send([]byte(head + body[:4]))
	if err == nil {
		time.Sleep(rest)
		err = d.Send([]byte(body[4:]))
	}
	sent := time.Now()
	if err != nil {
		return sent, err
	}
	a, err := d.Receive(nil)
	if err == nil {
		err = a.Want(nil)
	}
	if err != nil || a.Close {
		d.Close()
	}
	return sent, err
}

// explain puts a text, and wants to read it then.
func (c *crowd) explain(d *draintest.Client, k int) (draintest.Answer, error) {
	text := fmt.Sprintf("The pushes of a group, text %d.", k)
	a, err := d.Do("PUT", "/help/pushes", []byte(text))
	if err != nil {
		return a, err
	}
	c.mu.Lock()
	c.text = text
	c.mu.Unlock()
	if a, err = d.Do("GET", "/help/pushes", nil); err == nil {
		err = a.Want([]byte(text))
	}
	return a, err
}

var errNobody = errors.New("nobody listens")

// http2Conn is a connection that several clients share, and the next one when it takes no more requests.
type http2Conn struct {
	addr string
	mu   sync.Mutex
	conn *http2.ClientConn
}

func (h *http2Conn) reserve() (*http2.ClientConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil && h.conn.ReserveNewRequest() {
		return h.conn, nil
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: flow.Patience}, "tcp", h.addr, insecure("h2"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	if h.conn, err = new(http2.Transport).NewClientConn(conn); err == nil && !h.conn.ReserveNewRequest() {
		err = errors.New("a new connection takes no requests")
	}
	return h.conn, err
}

func (h *http2Conn) push(group, body string, rest time.Duration) (sent time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), flow.Patience)
	defer cancel()
	for {
		conn, err := h.reserve()
		if err != nil {
			return time.Now(), err
		}
		sent = time.Now().Add(rest)
		req, err := http.NewRequestWithContext(ctx, "POST", "https://"+h.addr+"/push/"+group,
			io.MultiReader(strings.NewReader(body[:4]), pause(rest), strings.NewReader(body[4:])))
		if err != nil {
			return sent, err
		}
		res, err := conn.RoundTrip(req)
		if err != nil && err.Error() == "http2: client conn not usable" { // has not even begun
			continue
		}
		if err != nil {
			return sent, err
		}
		got, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != http.StatusOK || len(got) > 0) {
			err = fmt.Errorf("%s: %.100q", res.Status, got)
		}
		return sent, err
	}
}

// pause is a part of a body that comes to nothing.
type pause time.Duration

func (p pause) Read([]byte) (int, error) {
	time.Sleep(time.Duration(p))
	return 0, io.EOF
}

// settle returns when each client was served since.
func (c *crowd) settle() {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), flow.Patience)
	defer cancel()
	for _, l := range c.loads {
		if err := l.Settle(ctx); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *crowd) end() {
	for _, l := range c.loads {
		l.Stop()
	}
}

// longest is the longest wait of a request that was on its way since then.
func (c *crowd) longest(since time.Time) (most time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waits {
		if w.begun.Add(w.took).After(since) {
			most = max(most, w.took)
		}
	}
	return most
}

func (c *crowd) acknowledged() (n int) {
	for _, k := range c.counts {
		n += k
	}
	return n
}

// want wants what was acknowledged to be in the file, once each, and nothing else.
func (c *crowd) want(file string) {
	c.Helper()
	for i, err := range c.failed {
		if c.Errorf("%v", err); i == 10 {
			break
		}
	}
	there, err := os.ReadFile(file)
	if err != nil {
		c.Fatal(err)
	}
	p := pushes{file: file}
	if err := p.Acquire(c.Context(), bytes.NewReader(there)); err != nil {
		c.Fatal(err)
	}
	lost, twice := 0, 0
	for group, n := range c.counts {
		got := int(p.sums["pushes"][group])
		lost, twice = lost+max(0, n-got), twice+max(0, got-n)
		if got == n && p.sums["numbers"][group] != c.sums[group] {
			c.Errorf("%s: the numbers come to %v, want %v", group, p.sums["numbers"][group], c.sums[group])
		}
	}
	if lost+twice > 0 || len(p.sums["pushes"]) != len(c.counts) {
		c.Errorf("of %d acknowledged %d are lost, %d are there twice", c.acknowledged(), lost, twice)
	}
}

// fill pushes numbers of that size.
func (b *bed) fill(i, size int) {
	b.Helper()
	var body strings.Builder
	for k := 0; body.Len() < size; k++ {
		fmt.Fprintf(&body,
			"rows_that_a_job_has_read_from_the_table_of_all_orders_of_the_customers_of_shard_%d %d\n", k, i)
	}
	res, err := http.Post(fmt.Sprintf("http://%s/push/fill_%d", b.addr, i), "text/plain",
		strings.NewReader(body.String()))
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.Fatal(res.Status)
	}
}
