//go:build linux

package kinds

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

var (
	small = bytes.Repeat([]byte("baton"), 20)
	large = bytes.Repeat([]byte("a body that no socket's buffers hold"), 8<<20/36)
)

// TestHTTP1 has every way of asking at once: each finds the others' handovers.
func TestHTTP1(t *testing.T) {
	t.Parallel()
	// No client rests as long as that, however busy the machine is.
	b := newBed(t, "nethttp", "-idle-grace", "20s")
	crowds := []*crowd{
		{n: 4, Kind: http1("keep-alive, POST"), ask: post},
		{n: 2, Kind: http1("new connection each, POST"), ask: post, fresh: true},
		{n: 2, Kind: http1("keep-alive, HEAD"), ask: head},
		{n: 2, Kind: http1("keep-alive, chunked body and trailer, in pieces"), ask: chunked},
		{n: 2, Kind: http1("keep-alive, `Expect: 100-continue`"), ask: expect},
		{n: 2, Kind: http1("keep-alive, head byte by byte"), ask: slow},
		{n: 2, Kind: http1("an upload that outlasts two swaps"), ask: upload},
		{n: 2, Kind: http1("a download that outlasts two swaps"), ask: download},
	}
	b.run(crowds...)
	for _, c := range crowds {
		if c.Closed > 0 {
			t.Errorf("%s, %s: %d connections closed by swaps, want 0: they are handed over", c.Name, c.Client, c.Closed)
		}
	}
}

func http1(client string) flow.Kind {
	return flow.Kind{Name: "HTTP/1.1", Client: client, Resumed: -1}
}

func postHead(headers string) []byte {
	return []byte("POST /echo HTTP/1.1\r\nHost: kinds\r\n" + headers + "\r\n")
}

func postOf(body []byte) []byte {
	return append(postHead(fmt.Sprintf("Content-Length: %d\r\n", len(body))), body...)
}

func post(c *client) error {
	think(40 * time.Millisecond)
	if err := c.send(postOf(small)); err != nil {
		return err
	}
	return c.answer("POST", small)
}

func head(c *client) error {
	think(40 * time.Millisecond)
	if err := c.send([]byte("HEAD /whoami HTTP/1.1\r\nHost: kinds\r\n\r\n")); err != nil {
		return err
	}
	return c.answer("HEAD", nil)
}

func chunked(c *client) error {
	think(40 * time.Millisecond)
	parts := [][]byte{postHead("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")}
	for range 5 {
		parts = append(parts, fmt.Appendf(nil, "%x\r\n%s\r\n", len(small), small))
	}
	parts = append(parts, []byte("0\r\nX-Sum: 5\r\n\r\n"))
	if err := c.send(parts...); err != nil {
		return err
	}
	return c.answer("POST", bytes.Repeat(small, 5))
}

func expect(c *client) error {
	think(40 * time.Millisecond)
	if err := c.send(postHead(fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n", len(small)))); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.from, nil)
	if err != nil || res.StatusCode != http.StatusContinue {
		return fmt.Errorf("want 100 Continue: %+v, %w", res, err)
	}
	think(100 * time.Millisecond)
	if err := c.send(small); err != nil {
		return err
	}
	return c.answer("POST", small)
}

func slow(c *client) error {
	think(40 * time.Millisecond)
	if err := c.send(slices.Collect(slices.Chunk(postOf(small), 9))...); err != nil {
		return err
	}
	return c.answer("POST", small)
}

func upload(c *client) error {
	swaps := c.crowd.bed.swaps.Load()
	body := large[:1<<20]
	parts := slices.Collect(slices.Chunk(postOf(body), 64<<10))
	if err := c.send(parts[:8]...); err != nil {
		return err
	}
	c.crowd.bed.outlasts(swaps)
	if err := c.send(parts[8:]...); err != nil {
		return err
	}
	return c.answer("POST", body)
}

func download(c *client) error {
	swaps := c.crowd.bed.swaps.Load()
	_ = c.conn.SetReadBuffer(64 << 10)
	if err := c.send(postOf(large)); err != nil {
		return err
	}
	if _, err := c.from.Peek(1); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.crowd.bed.outlasts(swaps)
	return c.answer("POST", large)
}
