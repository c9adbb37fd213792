package draintest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

// Client sends requests one after another on one HTTP/1.1 connection, and none of them twice. It
// dials when it has no connection: at first, and after Close. Set its fields before the first
// request. One goroutine at a time may use it, and closes it.
type Client struct {
	// Addr is the "host:port" to dial, and the Host of the requests.
	Addr string
	// Dial connects instead, for instance by TLS or to a unix socket. It must end by itself. The
	// default dials Addr over TCP for at most Timeout.
	Dial func() (net.Conn, error)
	// Timeout is for one request, from Connect to the end of its answer. The default is 10 seconds.
	Timeout time.Duration
	// Blind makes the client send without a look whether the server has closed the connection since
	// the last answer. Such a close is then a failed request. By default the client sees it, on
	// Unix and where the connection is a syscall.Conn, and dials again, as good clients do.
	Blind bool

	conn    net.Conn
	in      *input
	r       *bufio.Reader
	request []byte
	body    bytes.Buffer // of the last answer
}

// Connect makes the client ready for a request: with the connection that it has, or a new one. It
// begins the Timeout of that request. The error is a *Failure: "refused" or "timeout" when there is
// no connection to be had, "unasked" when the server has sent something since the last answer. Do
// and Echo call it; a caller of Send does so itself.
func (c *Client) Connect() error {
	_, err := c.connect()
	return err
}

func (c *Client) connect() (dials bool, err error) {
	if c.conn != nil {
		c.begin() // the Timeout of the last request may be over
	}
	if c.conn != nil && !c.Blind {
		if closed, err := c.closedAtRest(); closed {
			c.Close()
			if err != nil {
				return false, err
			}
		}
	}
	if c.conn == nil {
		dial := c.Dial
		if dial == nil {
			dial = func() (net.Conn, error) { return net.DialTimeout("tcp", c.Addr, c.timeout()) }
		}
		dials = true
		if c.conn, err = dial(); err != nil {
			c.conn = nil
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				return true, &Failure{"timeout", err}
			}
			return true, &Failure{"refused", err}
		}
		if c.r == nil {
			c.in = new(input)
			c.r = bufio.NewReaderSize(c.in, 2048) // a load may have thousands
		}
		*c.in = input{from: c.conn}
		c.r.Reset(c.in)
		c.begin()
	}
	return dials, nil
}

// begin begins the time of a request.
func (c *Client) begin() { _ = c.conn.SetDeadline(time.Now().Add(c.timeout())) } // an error comes again

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return 10 * time.Second
}

// closedAtRest tells whether the connection is of no more use, with an error if the server has sent
// what nobody asked for.
func (c *Client) closedAtRest() (bool, error) {
	if n := c.r.Buffered(); n > 0 {
		return true, fail("unasked", "%d bytes on an idle connection", n)
	}
	closed, spoke := look(c.conn)
	if spoke {
		return true, fail("unasked", "bytes on an idle connection")
	}
	return closed, nil
}

// Close closes the connection, if there is one. The client can go on with a new one.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Do sends one request with that body, which may be nil, and reads the answer. Each error is a
// *Failure; "status" says that the answer, which is returned too, is not 200. After an error, or an
// answer that closes, the connection is closed.
func (c *Client) Do(method, path string, body []byte) (Answer, error) {
	if err := c.Connect(); err != nil {
		return Answer{}, err
	}
	a, err := c.do(method, path, body)
	if err != nil || a.Close {
		c.Close()
	}
	return a, err
}

// Echo is Do for a POST of body, and wants the same body back: another is a *Failure, "mismatch".
func (c *Client) Echo(path string, body []byte) (Answer, error) {
	a, err := c.Do("POST", path, body)
	if err == nil {
		if err = a.Want(body); err != nil {
			c.Close()
		}
	}
	return a, err
}

func (c *Client) do(method, path string, body []byte) (Answer, error) {
	b := append(c.request[:0], method...)
	b = append(append(b, ' '), path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), c.Addr...)
	if len(body) > 0 || method != "GET" && method != "HEAD" {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(body)), 10)
	}
	b = append(append(b, "\r\n\r\n"...), body...)
	c.request = b
	if err := c.Send(b); err != nil {
		return Answer{}, err
	}
	a, err := c.receive(method, nil)
	if err == nil {
		err = a.Want(a.Body)
	}
	return a, err
}

// Send writes a part of a request, a request or several, as they are. The error is a *Failure.
func (c *Client) Send(b []byte) error {
	_, err := c.conn.Write(b)
	return c.broken(err, false)
}

// Receive reads the answer to a request that was sent, but for HEAD. The body goes to w as it
// comes, or into Answer.Body if w is nil. The error is a *Failure, and so is one that w returns.
func (c *Client) Receive(w io.Writer) (Answer, error) { return c.receive("GET", w) }
