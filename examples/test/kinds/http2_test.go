//go:build linux

package kinds

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestHTTP2: such connections move at rest, or end with a GOAWAY. What clients had begun by then
// is answered, and they connect again for the rest.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	cert, key, _ := flow.Certificate(t, "127.0.0.1")
	for _, x := range []struct {
		name, service, scheme string
		flags                 []string
		curl                  []string
	}{
		{"HTTP/2, nethttp", "nethttp", "https", []string{"-cert", cert, "-key", key},
			[]string{"--http2", "-k", "--parallel"}},
		// Without TLS curl 7.88 fails on the second request of a connection that has begun with HTTP/2.
		{"h2c, nethttp", "nethttp", "http", []string{"-h2c"}, nil},
		{"h2c, gin", "gin", "http", []string{"-h2c"}, []string{"--http2"}}, // by Upgrade
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, x.service, append(x.flags, "-idle-grace", "20s")...) // as in TestHTTP1
			crowds := []*http2Crowd{
				{n: 2, Kind: flow.Kind{Name: x.name, Client: "Go, POST"}, ask: (*http2Client).repeats},
				{n: 2, Kind: flow.Kind{Name: x.name, Client: "Go, POST of a body that can't be read twice",
					Except: goLoses}, ask: (*http2Client).streams},
				{n: 2, Kind: flow.Kind{Name: x.name, Client: "x/net, one connection at a time, POST"},
					ask: (*http2Client).single},
			}
			if x.scheme == "http" {
				crowds = append(crowds, &http2Crowd{n: 1, Kind: flow.Kind{Name: x.name, Client: "`h2load -m 4`, POST",
					Closed: -1}, ask: (*http2Client).h2load})
			}
			if x.curl != nil {
				how := "`curl " + strings.Join(x.curl, " ") + "`, POST"
				crowds = append(crowds, &http2Crowd{n: 1, flags: x.curl,
					Kind: flow.Kind{Name: x.name, Client: how, Closed: -1}, ask: (*http2Client).curl})
			}
			var clients sync.WaitGroup
			for _, c := range crowds {
				c.bed, c.url = b, x.scheme+"://"+b.Addr+"/echo"
				if x.scheme == "http" || c.Closed < 0 {
					c.Resumed = -1
				}
				for range c.n {
					clients.Go(c.client)
				}
			}
			for _, c := range crowds {
				flow.Eventually(t, c.Client+": an answer", func() bool { return c.answered.Load() > 0 })
			}
			b.run()
			clients.Wait()
			for _, c := range crowds {
				c.Lost = len(c.failed)
				if c.full > 0 {
					t.Errorf("%s: %d full handshakes, besides the first of each client", c.Client, c.full)
				}
				for _, err := range c.failed {
					t.Logf("%s, %s: %v", c.Name, c.Client, err)
					if c.Except != "" && !strings.Contains(err.Error(), goNotice) {
						t.Error("that is no exception")
					}
				}
				c.Report(t)
			}
		})
	}
}

// goLoses is what has never left the client: it has noticed by itself.
const (
	goLoses = "never sent: `net/http` gives a request to a connection, " +
		"closes its body when that has just gone away, and can't begin anew (golang/go#62450)"
	goNotice = "net/http: cannot rewind body after connection loss"
)

// http2Crowd is n clients, each with some goroutines that ask on one connection.
type http2Crowd struct {
	flow.Kind // its counts are the crowd's
	n         int
	flags     []string // curl's
	ask       func(*http2Client) error

	bed      *bed
	url      string
	answered atomic.Int32
	mu       sync.Mutex // guards what follows, and the counts
	failed   []error
	full     int // TLS handshakes, of those that could have resumed a session
}

// http2Client is one client.
type http2Client struct {
	*http2Crowd
	transport *http.Transport
	tls       *tls.Config
	conns     int // guarded by the crowd's mu

	mu   sync.Mutex // guards what follows
	conn *http2.ClientConn
}

func (c *http2Crowd) client() {
	cl := &http2Client{http2Crowd: c, tls: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0)}}
	cl.transport = &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: cl.tls, DialContext: cl.dial}
	cl.transport.Protocols.SetHTTP2(true)
	cl.transport.Protocols.SetUnencryptedHTTP2(strings.HasPrefix(c.url, "http:"))
	defer cl.transport.CloseIdleConnections()
	var asking sync.WaitGroup
	goroutines := 4
	if c.Closed < 0 { // a program that does so by itself
		goroutines = 1
	}
	for range goroutines {
		asking.Go(cl.run)
	}
	asking.Wait()
	if cl.conn != nil {
		_ = cl.conn.Close()
	}
}

func (c *http2Client) run() {
	for {
		err := c.ask(c)
		stopping := false
		select {
		case <-c.bed.stopping:
			stopping = true
		default:
		}
		if errors.Is(err, errNobody) && stopping {
			return
		}
		if err == nil {
			c.answered.Add(1)
		} else {
			c.lose(err)
		}
	}
}

func (c *http2Crowd) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Errorf("after swap %d: %w", c.bed.swaps.Load(), err))
}

func (c *http2Crowd) sent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Sent += n
}

func (c *http2Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: flow.Patience}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNobody, err)
	}
	return conn, nil
}

// uses is told of each connection when it is asked for the first time: the one
// before has gone away.
func (c *http2Client) uses(conn net.Conn) {
	c.http2Crowd.mu.Lock()
	defer c.http2Crowd.mu.Unlock()
	c.conns++
	if tc, ok := conn.(*tls.Conn); ok && c.conns > 1 {
		if tc.ConnectionState().DidResume {
			c.Resumed++
		} else {
			c.full++
		}
	}
	select {
	case <-c.bed.stopping:
	default:
		if c.conns > 1 {
			c.Closed++
		}
	}
}

// repeats asks as most do: net/http sends again what the service can't have seen.
func (c *http2Client) repeats() error { return c.post(c.transport, bytes.NewReader(small)) }

// streams gives net/http nothing to send again.
func (c *http2Client) streams() error {
	return c.post(c.transport, io.NopCloser(bytes.NewReader(small)))
}

// single asks on one connection until that takes no more requests, and then on
// the next. It never asks twice.
func (c *http2Client) single() error {
	c.mu.Lock()
	if c.conn == nil || !c.conn.ReserveNewRequest() {
		if err := c.connect(); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	conn := c.conn
	c.mu.Unlock()
	err := c.post(conn, io.NopCloser(bytes.NewReader(small)))
	if err != nil && err.Error() == "http2: client conn not usable" { // has not even begun
		c.sent(-1)
		return nil
	}
	return err
}

func (c *http2Client) connect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*flow.Patience)
	defer cancel()
	conn, err := c.dial(ctx, "tcp", c.bed.Addr)
	if err == nil && strings.HasPrefix(c.url, "https:") {
		config := c.tls.Clone()
		config.ServerName = "any" // under which the session is kept
		tc := tls.Client(conn, config)
		conn, err = tc, tc.HandshakeContext(ctx)
	}
	if err != nil {
		return err
	}
	c.uses(conn)
	c.conn, err = (&http2.Transport{AllowHTTP: true}).NewClientConn(conn)
	if err == nil && !c.conn.ReserveNewRequest() {
		err = errors.New("a new connection takes no requests")
	}
	return err
}

func (c *http2Client) post(by http.RoundTripper, body io.Reader) error {
	think(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 2*flow.Patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if by == c.transport && !info.Reused {
			c.uses(info.Conn)
		}
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, body)
	if err != nil {
		return err
	}
	c.sent(1)
	res, err := by.RoundTrip(req)
	if err != nil {
		if errors.Is(err, errNobody) {
			c.sent(-1)
		}
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || !bytes.Equal(got, small)) {
		err = fmt.Errorf("%s %s %.80q", res.Proto, res.Status, got)
	}
	return err
}

// curl has curl send some requests.
func (c *http2Client) curl() error {
	const requests = 20
	args := append([]string{"-q", "-v", "-s", "--max-time", "120", "--data-binary", string(small), "-w",
		"status %{http_version} %{http_code}\n"}, c.flags...)
	if c.flags[len(c.flags)-1] == "--parallel" {
		args = append(args, "--parallel-max", "4")
	} else {
		args = append(args, "--rate", "3000/m")
	}
	for range requests {
		args = append(args, "-o", os.DevNull, c.url)
	}
	cmd := exec.Command("curl", args...)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	var said, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &log
	runErr := cmd.Run()
	answers := strings.Count(said.String(), "status 2 200\n")
	nobody := strings.Count(log.String(), "Connection refused")
	c.sent(requests - nobody)
	switch {
	case answers+nobody < requests:
		return fmt.Errorf("%d answers and %d times nobody: %w\n%s\n%s",
			answers, nobody, runErr, said.String(), log.String())
	case nobody > 0:
		return errNobody
	}
	return nil
}

// h2load has h2load send some requests on one connection. It never opens a
// second one, and after a GOAWAY goes on to count requests that it can't send:
// what counts is what passes a wire.
func (c *http2Client) h2load() error {
	service, err := c.dial(context.Background(), "tcp", c.bed.Addr)
	if err != nil {
		return err
	}
	defer service.Close()
	ln, err := net.Listen("tcp", strings.TrimSuffix(c.bed.Addr, "8080")+"0")
	if err != nil {
		return err
	}
	defer ln.Close()
	body := filepath.Join(c.bed.Dir, "body")
	if err := os.WriteFile(body, small, 0o600); err != nil {
		return err
	}
	tool := flow.Tool(c.bed.t, "h2load", "apt-get install nghttp2-client")
	cmd := exec.Command(tool, "-c", "1", "-m", "4", "-n", "60", "--rps", "200", "-d", body,
		"http://"+ln.Addr().String()+"/echo")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	client, err := ln.Accept()
	if err != nil {
		return err
	}
	defer client.Close()
	begun := carry(client, service)
	_ = cmd.Wait()
	found := h2loadSaid.FindSubmatch(said.Bytes())
	if found == nil {
		return fmt.Errorf("h2load: %s", said.String())
	}
	succeeded, _ := strconv.Atoi(string(found[1]))
	c.sent(begun)
	for range begun - succeeded {
		c.lose(fmt.Errorf("h2load: %s of %d that were sent", found[0], begun))
	}
	return nil
}

var h2loadSaid = regexp.MustCompile(`(\d+) succeeded`)

// carry stands between a client and the service until both have closed, and
// returns how many requests have passed.
func carry(client, service net.Conn) (begun int) {
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, service)
		_ = client.(*net.TCPConn).CloseWrite()
	})
	defer answers.Wait()
	defer service.(*net.TCPConn).CloseWrite()
	if _, err := io.CopyN(service, client, int64(len(http2.ClientPreface))); err != nil {
		return 0
	}
	framer := http2.NewFramer(service, nil)
	for {
		head, err := http2.ReadFrameHeader(client)
		if err != nil {
			return begun
		}
		payload := make([]byte, head.Length)
		if _, err := io.ReadFull(client, payload); err != nil {
			return begun
		}
		if head.Type == http2.FrameHeaders {
			begun++
		}
		if framer.WriteRawFrame(head.Type, head.Flags, head.StreamID, payload) != nil {
			return begun
		}
	}
}
