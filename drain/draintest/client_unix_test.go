//go:build unix

package draintest

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// What the server does between two requests: a close costs a connection and no request, but for a blind client; bytes
// that nobody asked for are a failure.
func TestBetweenRequests(t *testing.T) {
	for _, x := range []struct {
		name, first, second string
		blind               bool
	}{
		{"closed", "", "<nil>", false},
		{"closed, blind", "", "eof", true},
		{"unasked", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "unasked", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				body, _ := request()
				echoTo(c, body, "")
				_, _ = io.WriteString(c, x.first)
				_ = c.CloseWrite()
				request()
			})
			c := Client{Addr: s.addr, Blind: x.blind}
			defer c.Close()
			if _, err := c.Echo("/", []byte("one")); err != nil {
				t.Fatal(err)
			}
			raw, err := c.conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.Read(func(fd uintptr) bool { // until the server's word has come
				_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
				return err != syscall.EAGAIN || c.r.Buffered() > 0
			})
			if _, err := c.Echo("/", []byte("two")); kind(err) != x.second {
				t.Errorf("the second request: %v; want %s", err, x.second)
			}
		})
	}
}

// A client that rests for longer than its Timeout goes on with its connection: the time is that of a request.
func TestRestIsNoPartOfTheTimeout(t *testing.T) {
	s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
		for body, ok := request(); ok; body, ok = request() {
			echoTo(c, body, "")
		}
	})
	c := Client{Addr: s.addr}
	defer c.Close()
	if _, err := c.Echo("/", []byte("one")); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.SetDeadline(time.Unix(1, 0)) // as it is after the Timeout
	if dials, err := c.connect(); dials || err != nil {
		t.Errorf("dials %v, %v; want the connection that is there", dials, err)
	}
	if _, err := c.Echo("/", []byte("two")); err != nil {
		t.Error(err)
	}
}
