package draintest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// Answer is a response, read to its end. Body is valid until the client's next request.
type Answer struct {
	Status int         // the status code
	Header http.Header // the header of the response
	Body   []byte      // empty where Receive has written it to a writer
	Close  bool        // the server closes the connection
}

// Want returns a *Failure if the status is not 200, "status", or the body is another, "mismatch".
func (a Answer) Want(body []byte) error {
	if a.Status != 200 {
		return fail("status", "status %d, %.80q", a.Status, a.Body)
	}
	if !bytes.Equal(a.Body, body) {
		return fail("mismatch", "sent %.60q, got %.60q", body, a.Body)
	}
	return nil
}

// Failure is a request that got no answer, or a wrong one.
type Failure struct {
	// Kind is one of:
	//
	//   - "refused": there is no connection to be had
	//   - "eof": the connection was closed without an answer
	//   - "reset": it was reset without an answer
	//   - "timeout": no whole answer has come in time
	//   - "truncated": the answer broke off
	//   - "status": the status is not 200
	//   - "mismatch": the body is not the one that is wanted
	//   - "malformed": the answer is not HTTP
	//   - "unasked": the server has sent something before a request
	//   - "other": any other error
	Kind string
	// Err is the error of the connection, or says what is wrong with the answer.
	Err error
}

// Error returns Kind and the text of Err.
func (f *Failure) Error() string { return f.Kind + ": " + f.Err.Error() }

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

func fail(kind, format string, args ...any) error { return &Failure{kind, fmt.Errorf(format, args...)} }

func (c *Client) receive(method string, w io.Writer) (Answer, error) {
	var res *http.Response
	for res == nil || res.StatusCode < 200 && res.StatusCode != 101 { // over answers such as 103
		if _, err := c.r.Peek(1); err != nil {
			return Answer{}, c.broken(err, false)
		}
		var err error
		if res, err = http.ReadResponse(c.r, &http.Request{Method: method}); err != nil {
			return Answer{}, c.broken(err, true)
		}
	}
	a := Answer{Status: res.StatusCode, Header: res.Header, Close: res.Close}
	if res.Body != http.NoBody && res.ContentLength < 0 && len(res.TransferEncoding) == 0 {
		// An end that can't be told from one that breaks off.
		return a, fail("malformed", "status %d without Content-Length or chunks", a.Status)
	}
	c.body.Reset()
	if w == nil {
		w = &c.body
	}
	_, err := io.Copy(w, res.Body)
	a.Body = c.body.Bytes()
	return a, c.broken(err, true)
}

// broken gives an error of the connection its kind; begun says that a part of the answer has come.
func (c *Client) broken(err error, begun bool) error {
	var already *Failure
	if err == nil || errors.As(err, &already) {
		return err
	}
	var ne net.Error
	kind := "other"
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		kind = "timeout"
	case begun && c.in.err == nil:
		kind = "malformed"
	case begun:
		kind = "truncated"
	case errors.Is(err, io.EOF):
		kind = "eof"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		kind = "reset"
	}
	return &Failure{kind, err}
}

// input is the connection as it is read, and how that ended: net/http calls a line that breaks off malformed.
type input struct {
	from io.Reader
	err  error
}

func (in *input) Read(p []byte) (n int, err error) {
	n, err = in.from.Read(p)
	in.err = err
	return n, err
}
