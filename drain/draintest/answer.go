package draintest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"syscall"
)

// The parser is by hand, so that a load of thousands of requests a second leaves little garbage:
// what it measures is in the same machine.

const maxHead = 1 << 20

func (c *Client) receive(hasBody bool, w io.Writer) (a Answer, err error) {
	for a.Status < 200 && a.Status != 101 && err == nil { // over answers such as 103, which come before the one
		c.answer.Reset()
		a, err = c.head()
	}
	head := c.answer.Len()
	if w == nil {
		w = &c.answer
	}
	switch {
	case err != nil:
		return a, err
	case !hasBody, a.Status == 101, a.Status == 204, a.Status == 304:
	case a.chunked:
		_, err = io.Copy(w, httputil.NewChunkedReader(c.r))
	case a.length < 0: // an end that can't be told from one that breaks off
		err = fail("malformed", "status %d without Content-Length or chunks", a.Status)
	default:
		_, err = io.CopyN(w, c.r, a.length)
	}
	end := c.answer.Len()
	for more := a.chunked; more && err == nil; { // the trailer
		var line []byte
		line, err = c.line(true)
		more = len(line) > 0
	}
	a.head, a.Body = c.answer.Bytes()[:head], c.answer.Bytes()[head:end]
	return a, broken(err, true)
}

// head reads a status line, as "HTTP/1.1 200 OK", and the headers.
func (c *Client) head() (a Answer, err error) {
	a.length = -1
	line, err := c.line(false)
	if err != nil {
		return a, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, fail("malformed", "status line %.80q", line)
	}
	if a.Status, err = strconv.Atoi(string(line[9:12])); err != nil || a.Status < 100 {
		return a, fail("malformed", "status line %.80q", line)
	}
	a.Close = line[7] == '0'
	for {
		if line, err = c.line(true); err != nil || len(line) == 0 {
			return a, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			a.length, err = strconv.ParseInt(string(value), 10, 64)
			ok = ok && err == nil && a.length >= 0
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			a.chunked = bytes.EqualFold(value, []byte("chunked"))
			ok = ok && a.chunked
		case bytes.EqualFold(name, []byte("Connection")):
			for token := range bytes.SplitSeq(value, []byte(",")) {
				token = bytes.TrimSpace(token)
				closes, keeps := bytes.EqualFold(token, []byte("close")), bytes.EqualFold(token, []byte("keep-alive"))
				a.Close = closes || a.Close && !keeps
			}
		}
		if !ok {
			return a, fail("malformed", "header %.80q", line)
		}
	}
}

// line reads to the end of a line and returns it without. begun says that a part of the answer has
// come.
func (c *Client) line(begun bool) ([]byte, error) {
	from := c.answer.Len()
	for {
		b, err := c.r.ReadSlice('\n')
		c.answer.Write(b)
		switch {
		case c.answer.Len() > maxHead:
			return nil, fail("malformed", "a head of over %d bytes", maxHead)
		case err == nil:
			return bytes.TrimRight(c.answer.Bytes()[from:], "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, broken(err, begun || c.answer.Len() > from)
		}
	}
}

// broken gives an error of the connection its kind.
func broken(err error, begun bool) error {
	var already *Failure
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &Failure{kindOf(err, begun), err}
}

func kindOf(err error, begun bool) string {
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case begun:
		return "truncated"
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	}
	return "other"
}
