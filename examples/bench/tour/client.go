//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// client is one HTTP/1.1 client on one connection. It is written out by hand because it must never send a request
// twice: http.Transport does so by itself when a kept-alive connection breaks, and that would hide a loss.
type client struct {
	addr    string
	local   net.Addr // source address, nil for any
	timeout time.Duration

	conn *net.TCPConn
	raw  syscall.RawConn
	br   *bufio.Reader
	body []byte // of the last answer, valid until the next
}

// answer is a response as far as the tour looks at it.
type answer struct {
	status     int
	pid        int
	generation int
	close      bool // the server closes after this one
	body       []byte
}

// failure is a request that got no answer, or a wrong one.
type failure struct {
	outcome outcome
	err     error
}

func (f *failure) Error() string { return outcomeNames[f.outcome] + ": " + f.err.Error() }

func fail(o outcome, format string, args ...any) error {
	return &failure{o, fmt.Errorf(format, args...)}
}

// outcomeOf says what a request's error counts as.
func outcomeOf(err error) outcome {
	var f *failure
	switch {
	case err == nil:
		return ok
	case errors.As(err, &f):
		return f.outcome
	}
	return other
}

func (c *client) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: c.timeout, LocalAddr: c.local, KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			return &failure{timeout, err}
		}
		return &failure{refused, err}
	}
	c.conn = conn.(*net.TCPConn)
	if c.raw, err = c.conn.SyscallConn(); err != nil {
		return &failure{other, err}
	}
	if c.br == nil {
		c.br = bufio.NewReaderSize(c.conn, 2048)
	} else {
		c.br.Reset(c.conn)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// closedAtRest looks, without waiting, whether the server has closed the idle connection: like any good client this
// one does not send on a connection that it can know to be closed. Such a close costs a reconnect, not a request.
// Bytes nobody asked for are a failure.
func (c *client) closedAtRest() (bool, error) {
	c.conn.SetDeadline(time.Now().Add(c.timeout))
	if c.br.Buffered() > 0 {
		return true, fail(unasked, "%d bytes on an idle connection", c.br.Buffered())
	}
	var n int
	var rerr error
	var b [1]byte
	err := c.raw.Read(func(fd uintptr) bool {
		n, rerr = syscall.Read(int(fd), b[:])
		return true
	})
	switch {
	case err != nil:
		return true, nil
	case rerr == syscall.EAGAIN || rerr == syscall.EINTR:
		return false, nil
	case n > 0:
		return true, fail(unasked, "bytes on an idle connection")
	}
	return true, nil
}

// roundTrip sends one request and reads its answer. After an error the connection is of no more use.
func (c *client) roundTrip(request []byte) (answer, error) {
	c.conn.SetDeadline(time.Now().Add(c.timeout))
	if err := c.send(request); err != nil {
		return answer{}, err
	}
	return c.receive()
}

func (c *client) send(b []byte) error {
	_, err := c.conn.Write(b)
	return classify(err, false)
}

// receive reads one answer.
func (c *client) receive() (answer, error) {
	a := answer{}
	length := -1
	line, err := c.line(false)
	if err != nil {
		return a, err
	}
	// "HTTP/1.1 200 OK"
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, fail(malformed, "status line %q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, fail(malformed, "status line %q", line)
	}
	for {
		if line, err = c.line(true); err != nil {
			return a, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("X-Pid")):
			a.pid, err = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("X-Generation")):
			a.generation, err = strconv.Atoi(string(value))
		case bytes.EqualFold(name, []byte("Connection")):
			a.close = bytes.EqualFold(value, []byte("close"))
		}
		if err != nil {
			return a, fail(malformed, "header %q", line)
		}
	}
	if length < 0 {
		return a, fail(malformed, "an answer without Content-Length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	a.body = c.body[:length]
	if _, err := io.ReadFull(c.br, a.body); err != nil {
		return a, classify(err, true)
	}
	return a, nil
}

func (c *client) line(begun bool) ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return nil, classify(err, begun || len(line) > 0)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// classify gives an error of the connection its kind; begun says that a part of the answer had come.
func classify(err error, begun bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{timeout, err}
	case errors.Is(err, bufio.ErrBufferFull):
		return &failure{malformed, err}
	case begun:
		return &failure{truncated, err}
	case errors.Is(err, io.EOF):
		return &failure{eof, err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &failure{reset, err}
	}
	return &failure{other, err}
}

// expect compares an answer with what was asked for.
func (a answer) expect(body []byte) error {
	if a.status != 200 {
		return fail(status, "status %d, %.80q", a.status, a.body)
	}
	if !bytes.Equal(a.body, body) {
		return fail(mismatch, "sent %.60q, got %.60q", body, a.body)
	}
	return nil
}

// appendPost appends the request for an echo of body.
func appendPost(b []byte, body []byte) []byte {
	b = append(b, "POST /echo HTTP/1.1\r\nHost: tour\r\nContent-Type: text/plain\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}
