package draintest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// server calls serve for each connection, and counts how often each body came.
type server struct {
	addr string
	mu   sync.Mutex
	got  map[string]int
}

func newServer(t *testing.T, serve func(c *net.TCPConn, request func() (body string, ok bool))) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String(), got: map[string]int{}}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				serve(c.(*net.TCPConn), func() (string, bool) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return "", false
					}
					b, err := io.ReadAll(req.Body)
					s.mu.Lock()
					defer s.mu.Unlock()
					s.got[string(b)]++
					return string(b), err == nil
				})
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); conns.Wait() })
	return s
}

func echoTo(c net.Conn, body, headers string) {
	_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Pid: 7\r\n%s\r\n%s", len(body), headers, body)
}

func kind(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return fmt.Sprint(err)
}

func TestHowARequestFails(t *testing.T) {
	for _, x := range []struct {
		want string
		says func(body string) string
	}{
		{"eof", func(string) string { return "" }},
		{"truncated", func(string) string { return "HTTP/1.1 200 OK\r\nContent-" }},
		{"truncated", func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" }},
		{"truncated", func(string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nlower" }},
		{"truncated", func(string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nlower case\r\n0\r\n"
		}},
		{"truncated", func(string) string { return "HTTP/1.1 103 Early Hints\r\n\r\nHTTP" }},
		{"eof", func(string) string { return "HTTP/1.1 103 Early Hints\r\n\r\n" }},
		{"mismatch", func(body string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + strings.ToUpper(body)
		}},
		{"mismatch", func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }},
		{"status", func(string) string { return "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n" }},
		{"status", func(string) string { return "HTTP/1.1 204 No Content\r\n\r\n" }},
		{"malformed", func(string) string { return "SSH-2.0-nothing to see here\r\n" }},
		{"malformed", func(string) string { return "HTTP/1.1 2OO OK\r\n\r\n" }},
		{"malformed", func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n" }},
		{"malformed", func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: four\r\n\r\n" }},
		{"malformed", func(string) string { return "HTTP/1.1 200 OK\r\nno header\r\n\r\n" }},
		{"malformed", func(string) string { return "HTTP/1.1 200 OK\r\n\r\nuntil the end" }},
	} {
		t.Run(x.want, func(t *testing.T) {
			s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
				if body, ok := request(); ok {
					_, _ = io.WriteString(c, x.says(body))
				}
			})
			c := Client{Addr: s.addr, Timeout: time.Minute}
			defer c.Close()
			if _, err := c.Echo("/", []byte("lower case")); kind(err) != x.want {
				t.Errorf("%s for %.80q: %v; want %s", kind(err), x.says("lower case"), err, x.want)
			}
			if c.conn != nil {
				t.Error("the connection is kept")
			}
		})
	}
}

func TestNoAnswerAtAll(t *testing.T) {
	s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
		if body, _ := request(); body == "reset" {
			_ = c.SetLinger(0)
			return
		}
		_, _ = io.Copy(io.Discard, c)
	})
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	late := func() (net.Conn, error) { return nil, &net.OpError{Op: "dial", Err: timedOut{}} }
	for body, c := range map[string]Client{
		"reset":   {Addr: s.addr},
		"timeout": {Addr: s.addr, Timeout: 20 * time.Millisecond},
		"refused": {Addr: gone.Addr().String()},
	} {
		if _, err := c.Echo("/", []byte(body)); kind(err) != body {
			t.Errorf("%s: %v", body, err)
		}
	}
	c := Client{Dial: late}
	if err := c.Connect(); kind(err) != "timeout" {
		t.Errorf("a dial that takes too long: %v", err)
	}
}

type timedOut struct{}

func (timedOut) Error() string   { return "too long" }
func (timedOut) Timeout() bool   { return true }
func (timedOut) Temporary() bool { return false }

// Answers of every form that a balancer may send are read to their end, and not further.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("long ", 1000)
	said := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Pid:  7 \r\nx-pid: 8\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Pid: 7\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Pid: 7\r\n\r\n5\r\nhello\r\n0\r\nT: r\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nX-Pid: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-Pid: 7\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nX: " + long + "\r\nX-Pid: 7\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX-Pid: 7\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\nContent-Length: 5\nX-Pid: 7\nConnection: x, Close\n\nhello",
	}
	next := make(chan string, len(said)+1)
	s := newServer(t, func(c *net.TCPConn, request func() (string, bool)) {
		for _, ok := request(); ok; _, ok = request() {
			_, _ = io.WriteString(c, <-next)
		}
	})
	c := Client{Addr: s.addr}
	defer c.Close()
	for i, text := range said {
		next <- text
		a, err := c.Do("POST", "/", []byte("hello"))
		last := i == len(said)-1
		if err != nil || string(a.Body) != "hello" || a.Header.Get("X-Pid") != "7" || a.Close != last {
			t.Errorf("%.100q is read as %q %+v, %v", text, a.Body, a, err)
		}
	}
	next <- "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"
	if a, err := c.Do("HEAD", "/", nil); err != nil || len(a.Body) > 0 || !a.Close {
		t.Errorf("HEAD: %+v, %v", a, err)
	}
	next <- said[1]
	var b strings.Builder
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if err := c.Send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Receive(&b); err != nil || b.String() != "hello" || len(a.Body) > 0 {
		t.Errorf("into a writer: %q, %+v, %v", b.String(), a, err)
	}
}
