//go:build linux

package kinds

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// client is one connection, and what comes after it.
type client struct {
	crowd *crowd
	conn  *net.TCPConn
	from  *bufio.Reader
}

// connect looks first whether the connection that is there can be used.
func (c *client) connect() error {
	if c.conn != nil && closedAtRest(c.conn) {
		c.crowd.count(0, 1, nil)
		c.close()
	}
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.crowd.bed.Addr, flow.Patience)
	if err != nil {
		return err
	}
	c.conn, c.from = conn.(*net.TCPConn), bufio.NewReader(conn)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// think is what clients do between two requests, for longer than clients of a service that has not been built with the
// race detector.
func think(most time.Duration) { time.Sleep(rand.N(3 * most)) }

// send writes parts of a request, one after the other.
func (c *client) send(parts ...[]byte) error {
	_ = c.conn.SetDeadline(time.Now().Add(2 * flow.Patience))
	for i, part := range parts {
		if i > 0 {
			time.Sleep(rand.N(50 * time.Millisecond))
		}
		if _, err := c.conn.Write(part); err != nil {
			return fmt.Errorf("part %d of %d: %w", i+1, len(parts), err)
		}
	}
	return nil
}

// answer reads the answer to a request of that method, which must be 200 and
// have the body. It closes the connection if the service is about to.
func (c *client) answer(method string, body []byte) error {
	res, err := http.ReadResponse(c.from, &http.Request{Method: method})
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("answer after %d bytes: %w", len(got), err)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %.80s", res.Status, got)
	case body != nil && !bytes.Equal(got, body):
		return fmt.Errorf("another body comes back: %d bytes %.40q, want %d", len(got), got, len(body))
	case res.Close && !c.crowd.fresh:
		c.crowd.count(0, 1, nil)
		c.close()
	}
	return nil
}

// closedAtRest looks, without waiting, whether the other side has closed.
func closedAtRest(conn *net.TCPConn) bool {
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
