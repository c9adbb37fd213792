package forward

import (
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// body is the request's. It reads ahead: what the handler leaves, net/http would throw away.
type body struct {
	*stream
	r *http.Request

	closed atomic.Bool

	mu    sync.Mutex // guards what follows
	ahead message    // the answer of which a part is left
}

const readAhead = 4 << 10

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ahead.data) == 0 && b.ahead.Fault == nil || b.closed.Load() {
		b.ahead = b.call(message{Op: "read", N: int64(max(readAhead, len(p)))})
	}
	a := &b.ahead
	n := copy(p, a.data)
	if a.data = a.data[n:]; len(a.data) > 0 {
		return n, nil
	}
	end := *a
	*a = message{}
	if len(end.Header) > 0 {
		if b.r.Trailer == nil {
			b.r.Trailer = http.Header{}
		}
		maps.Copy(b.r.Trailer, end.Header)
	}
	return n, end.err()
}

// rest is what was read ahead, unless another goroutine reads still.
func (b *body) rest() []byte {
	if !b.mu.TryLock() {
		return nil
	}
	defer b.mu.Unlock()
	return b.ahead.data
}

func (b *body) Close() error {
	b.closed.Store(true)
	return b.call(message{Op: "close"}).err()
}

// conn is the client's connection. Before a Hijack it has its addresses.
type conn struct {
	deadlines
	local, remote net.Addr
	once          sync.Once
	closed        chan struct{}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(b []byte) (int, error) {
	a := c.call(message{Op: "conn.read", N: int64(len(b))})
	return copy(b, a.data), a.err()
}

func (c *conn) Write(b []byte) (int, error) {
	return inParts(b, func(part []byte) message { return c.call(message{Op: "conn.write", data: part}) })
}

func (c *conn) Close() (err error) {
	err = net.ErrClosed
	c.once.Do(func() {
		c.call(message{Op: "conn.close"})
		close(c.closed)
		err = nil
	})
	return err
}

func (c *conn) CloseWrite() error { return c.call(message{Op: "conn.close write"}).err() }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
