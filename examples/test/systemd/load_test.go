//go:build linux

package systemd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

func (b *bed) client() *draintest.Client {
	return &draintest.Client{Dial: b.dial, Addr: addr, Timeout: patience}
}

// load starts clients that keep their connection, and others that open one for each request.
func (b *bed) load(keep, fresh int) *flow.Load {
	b.t.Helper()
	return flow.NewLoadBy(b.t, b.dial, addr, keep, fresh)
}

type identity struct {
	PID, Generation int
	Version         string
}

func (i identity) pid() string { return strconv.Itoa(i.PID) }

// whoami asks on a connection of its own.
func (b *bed) whoami() (who identity) {
	b.t.Helper()
	c := b.client()
	defer c.Close()
	a, err := c.Do("GET", "/whoami", nil)
	if err == nil {
		err = json.Unmarshal(a.Body, &who)
	}
	if err != nil {
		b.t.Fatalf("/whoami: %v", err)
	}
	return who
}

// held is a request in flight: the service has begun to read its body, whose end it gets at the test's word.
type held struct {
	bed  *bed
	conn net.Conn
	from *bufio.Reader
	pid  string // of the process that has it
}

const heldBody = "in flight"

func (b *bed) hold() *held {
	b.t.Helper()
	pid := b.whoami().pid()
	conn, err := b.dial()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	h := &held{b, conn, bufio.NewReader(conn), pid}
	_ = h.conn.SetDeadline(time.Now().Add(3 * patience))
	fmt.Fprintf(h.conn, "POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		len(heldBody))
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
