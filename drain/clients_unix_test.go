//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// client is a connection on which requests are sent one after another. It never retries.
type client struct {
	net.Conn
	r *bufio.Reader
}

// answer is a response, read to its end.
type answer struct {
	status   int
	pid, gen int
	body     string
	close    bool // the server will close the connection
}

func dial(s *service) (*client, error) { return s.dialAt(s.address(), s.plan.Cert != "") }

func (s *service) dialAt(address string, secure bool) (*client, error) {
	nc, err := net.DialTimeout(s.plan.Network, address, hung)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	if strings.Contains(s.plan.Wrap, "proxy") {
		_, _ = io.WriteString(nc, proxyHeader) // an error comes again
	}
	if secure {
		nc = tls.Client(nc, unchecked())
	}
	return &client{Conn: nc, r: bufio.NewReader(nc)}, nil
}

// address is where the service listens.
func (s *service) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if addr, ok := strings.CutPrefix(r.Note, "listening "); ok {
			return addr
		}
	}
	s.Error("the service does not listen")
	return ""
}

func (s *service) connect() *client {
	s.Helper()
	c, err := dial(s)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// send begins the time that one request may take: its connection may live through more swaps than a slow
// machine does in a while.
func (c *client) send(method, target, body string) error {
	_ = c.SetDeadline(time.Now().Add(2 * hung))
	_, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", method, target,
		len(body), body)
	return err
}

func (c *client) receive() (a answer, err error) {
	_ = c.SetReadDeadline(time.Now().Add(2 * hung))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a = answer{status: resp.StatusCode, body: string(body), close: resp.Close}
	a.pid, _ = strconv.Atoi(resp.Header.Get("X-Pid"))
	a.gen, _ = strconv.Atoi(resp.Header.Get("X-Generation"))
	return a, err
}

func (c *client) ask(method, target, body string) (answer, error) {
	if err := c.send(method, target, body); err != nil {
		return answer{}, err
	}
	return c.receive()
}

// get asks on a new connection.
func (s *service) get(target string) answer {
	s.Helper()
	a, err := s.tryGet(target)
	if err != nil {
		s.Fatalf("GET %s: %v", target, err)
	}
	return a
}

// tryGet is get where an error is no failure.
func (s *service) tryGet(target string) (answer, error) {
	c, err := dial(s)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return c.ask("GET", target, "")
}

// letGo tells whether a generation has told that it was replaced, or is gone.
func (s *service) letGo(gen int) bool {
	pid := 0
	for _, r := range s.since(0) {
		if r.Gen != gen {
			continue
		}
		if r.Msg == "replaced" {
			return true
		}
		pid = r.PID
	}
	return gen < 1 || s.hasExited(pid)
}

// do calls a method of the main generation's Service and returns its error. The generation before accepts for a moment
// after the promotion.
func (s *service) do(it string, args ...string) string {
	s.Helper()
	for timeout := time.After(hung); !s.letGo(s.main().Gen - 1); {
		select {
		case <-timeout:
			s.Fatal("the generation before does not let go")
		case <-time.After(time.Millisecond):
		}
	}
	v := url.Values{"it": {it}}
	for i := 0; i < len(args); i += 2 {
		v.Set(args[i], args[i+1])
	}
	return s.get("/do?" + v.Encode()).body
}

// slow begins a request that hangs in the newest generation until the gate of that name is opened, and waits until its
// handler runs.
func (s *service) slow(name string) (c *client, open func()) {
	s.Helper()
	path, open := s.gate(name)
	c, mark := s.connect(), s.mark()
	if err := c.send("GET", "/slow?gate="+url.QueryEscape(path), ""); err != nil {
		s.Fatal(err)
	}
	if r := s.noteSince(mark, 0, "slow begun"); r.PID == s.main().PID {
		return c, open
	}
	s.finishSlow(c, open) // the generation before was quicker than its end
	_ = c.Close()
	return s.slow(name + "+")
}

// finishSlow opens the gate of a slow request and wants its answer.
func (s *service) finishSlow(c *client, open func()) answer {
	s.Helper()
	open()
	a, err := c.receive()
	if err != nil || a.body != "slow but done" {
		s.Fatalf("slow request: %+v, %v", a, err)
	}
	return a
}
