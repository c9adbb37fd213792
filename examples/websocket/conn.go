package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
)

// errPaused is what a WebSocket's read returns between two messages. Nothing of
// the next one is lost by it.
var errPaused = errors.New("paused between two messages")

// conn stands between the WebSocket library and the wire, to know when neither
// has anything in hand. It never lets the library read beyond the end of a
// message. So, when the library asks for more there, it has dealt with all that
// it was given, and what else has come is in our buffer.
type conn struct {
	net.Conn
	from   *bufio.Reader
	at     place
	paused atomic.Bool
	mu     sync.Mutex // makes one step of pause and of resume

	leaving atomic.Bool // our close frame is about to go: nothing may follow it
}

// newConn returns a connection of which early was read already.
func newConn(nc net.Conn, early []byte) *conn {
	c := new(conn)
	c.begin(nc, early)
	return c
}

func (c *conn) begin(nc net.Conn, early []byte) {
	c.Conn = nc
	c.from = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), nc), max(4096, len(early)))
	_, _ = c.from.Peek(len(early)) // into the buffer, where unread finds it
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		if c.at.rest() && c.paused.Load() {
			return 0, errPaused
		}
		_, err := c.from.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) && c.paused.Load() {
			if !c.at.rest() { // the rest of the message first
				_ = c.SetReadDeadline(time.Time{})
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		b, _ := c.from.Peek(min(len(p), c.from.Buffered()))
		n := copy(p, b[:c.at.pass(b)])
		_, _ = c.from.Discard(n)
		return n, nil
	}
}

// pause makes the library's read return errPaused as soon as it is between two
// messages.
func (c *conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused.Store(true)
	_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes it
}

// resume ends a pause.
func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused.Store(false)
	_ = c.SetReadDeadline(time.Time{})
}

// unread is what has come of the next messages.
func (c *conn) unread() []byte {
	b, _ := c.from.Peek(c.from.Buffered())
	return bytes.Clone(b)
}

func (c *conn) hijacked() (net.Conn, *bufio.ReadWriter, error) {
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// options are for the WebSocket on c. With compression it would have a state
// that can't go along. The library fails where it is to answer a ping after its
// close frame: the client would be reset instead of waited for.
func (c *conn) options() *websocket.AcceptOptions {
	return &websocket.AcceptOptions{
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  func(context.Context, []byte) bool { return !c.leaving.Load() },
	}
}

// upgrade puts a conn under the WebSocket that is accepted on it.
type upgrade struct {
	gin.ResponseWriter
	conn *conn
}

func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := u.ResponseWriter.Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := brw.Peek(brw.Reader.Buffered())
	u.conn.begin(nc, early)
	return u.conn.hijacked()
}

// resume accepts a WebSocket whose handshake another process has answered.
func resume(c *conn) (*websocket.Conn, error) {
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="}, // RFC 6455's own: what it is hashed to goes nowhere
	}}
	return websocket.Accept(&answered{conn: c, header: http.Header{}}, r, c.options())
}

// answered is the response of a handshake that is over.
type answered struct {
	conn   *conn
	header http.Header
}

func (a *answered) Header() http.Header         { return a.header }
func (a *answered) WriteHeader(int)             {}
func (a *answered) Write(p []byte) (int, error) { return len(p), nil }

func (a *answered) Hijack() (net.Conn, *bufio.ReadWriter, error) { return a.conn.hijacked() }
