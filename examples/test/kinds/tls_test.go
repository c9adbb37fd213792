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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestHTTPSOverHTTP1: such connections are handed over. A client that makes new ones resumes its session.
func TestHTTPSOverHTTP1(t *testing.T) {
	t.Parallel()
	cert, key, _ := flow.Certificate(t, "127.0.0.1")
	for _, service := range []string{"nethttp", "gin"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, service, "-idle-grace", "20s", "-cert", cert, "-key", key) // as in TestHTTP1
			name := "HTTPS, HTTP/1.1, " + service
			crowds := []*tlsCrowd{
				{n: 4, Kind: flow.Kind{Name: name, Client: "Go, keep-alive, POST"}},
				{n: 2, Kind: flow.Kind{Name: name, Client: "Go, new connection each, TLS 1.3, POST", Closed: -1},
					version: tls.VersionTLS13, fresh: true},
				{n: 2, Kind: flow.Kind{Name: name, Client: "Go, new connection each, TLS 1.2, POST", Closed: -1},
					version: tls.VersionTLS12, fresh: true},
				{n: 2, Kind: flow.Kind{Name: name, Client: "`curl --http1.1`, keep-alive, POST", Closed: -1},
					curl: true},
			}
			var clients sync.WaitGroup
			for _, c := range crowds {
				c.bed = b
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
				c.report()
			}
		})
	}
}

// tlsCrowd is n clients, each with sessions of its own to resume.
type tlsCrowd struct {
	flow.Kind // its counts are the crowd's
	n         int
	version   uint16 // 0 for any
	fresh     bool   // a connection for each request
	curl      bool

	bed      *bed
	answered atomic.Int32
	mu       sync.Mutex // guards what follows, and the counts
	failed   []error
	again    int // handshakes after each client's first
}

func (c *tlsCrowd) report() {
	c.bed.t.Helper()
	c.Lost = len(c.failed)
	for _, err := range c.failed {
		c.bed.t.Logf("%s, %s: %v", c.Name, c.Client, err)
	}
	switch {
	case !c.fresh:
		// net/http gives a connection up by itself when it does not learn within 50 ms that its request was written.
		if c.curl && c.again > 0 || c.Closed > 0 {
			c.bed.t.Errorf("%s, %s: %d connections closed by swaps, %d made again, want 0",
				c.Name, c.Client, c.Closed, c.again)
		}
		c.Resumed = -1
	case c.again == 0 || c.Resumed != c.again:
		c.bed.t.Errorf("%s, %s: %d of %d handshakes resumed, want all", c.Name, c.Client, c.Resumed, c.again)
	}
	c.Report(c.bed.t)
}

func (c *tlsCrowd) client() {
	ask := c.goClient()
	if c.curl {
		ask = c.runCurl
	}
	for {
		sent, err := ask()
		stopping := c.bed.ends()
		if errors.Is(err, errNobody) && stopping {
			err = nil
		} else if err == nil {
			c.answered.Add(1)
			stopping = false
		}
		c.mu.Lock()
		c.Sent += sent
		if err != nil {
			c.failed = append(c.failed, fmt.Errorf("after swap %d: %w", c.bed.swaps.Load(), err))
			stopping = stopping && len(c.failed) > 100
		}
		c.mu.Unlock()
		if stopping {
			return
		}
	}
}

// errNobody is that nobody listens: nothing was sent.
var errNobody = errors.New("nobody listens")

// closes notices that the service closes the connection.
type closes struct {
	net.Conn
	own  atomic.Bool // the client has closed it
	tell func()
	once sync.Once
}

func (c *closes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !c.own.Load() {
		c.once.Do(c.tell)
	}
	return n, err
}

func (c *closes) Close() error {
	c.own.Store(true)
	return c.Conn.Close()
}

// goClient is net/http's. A body that can't be read twice keeps it from
// sending anything twice.
func (c *tlsCrowd) goClient() func() (sent int, err error) {
	shakes := 0
	closed := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.fresh && !c.bed.ends() {
			c.Closed++
		}
	}
	transport := &http.Transport{
		DisableKeepAlives: c.fresh,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: flow.Patience}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errNobody, err)
			}
			return &closes{Conn: conn, tell: closed}, nil
		},
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, MinVersion: c.version, MaxVersion: c.version,
			ClientSessionCache: tls.NewLRUClientSessionCache(4),
			VerifyConnection: func(cs tls.ConnectionState) error {
				c.mu.Lock()
				defer c.mu.Unlock()
				if shakes++; shakes > 1 && !c.bed.ends() {
					c.again++
				}
				if cs.DidResume && !c.bed.ends() {
					c.Resumed++
				}
				return nil
			},
		},
	}
	return func() (int, error) {
		think(40 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 2*flow.Patience)
		defer cancel()
		var on httptrace.GotConnInfo
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { on = info },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.bed.Addr+"/echo",
			io.NopCloser(bytes.NewReader(small)))
		if err != nil {
			return 0, err
		}
		req.ContentLength = int64(len(small))
		res, err := transport.RoundTrip(req)
		if errors.Is(err, errNobody) {
			return 0, err
		} else if err != nil {
			return 1, fmt.Errorf("%w (the connection was used before: %v; it had rested for %v)",
				err, on.Reused, on.IdleTime)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err == nil && (res.StatusCode != http.StatusOK || res.ProtoMajor != 1 || !bytes.Equal(got, small)) {
			err = fmt.Errorf("%s %s %.80q", res.Proto, res.Status, got)
		}
		if res.Close {
			closed()
		}
		return 1, err
	}
}

// runCurl has curl send some requests, on one connection as far as that goes.
func (c *tlsCrowd) runCurl() (sent int, err error) {
	const requests = 20
	args := []string{"-q", "-v", "-k", "-s", "--http1.1", "--rate", "1200/m", "--max-time", "120", "--data-binary",
		string(small)}
	for range requests {
		args = append(args, "-w", "\nstatus %{http_code}\n", "https://"+c.bed.Addr+"/echo")
	}
	cmd := exec.Command("curl", args...)
	cmd.Env = append(os.Environ(), "no_proxy=*")
	var said, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &log
	runErr := cmd.Run()
	answers := strings.Count(said.String(), string(small)+"\nstatus 200\n")
	nobody := strings.Count(log.String(), "Connection refused")
	c.mu.Lock()
	defer c.mu.Unlock()
	if shakes := strings.Count(log.String(), "SSL connection using"); shakes > 1 && !c.bed.ends() {
		c.again += shakes - 1
	}
	switch {
	case answers+nobody < requests:
		return requests - nobody, fmt.Errorf("%d answers and %d times nobody: %w\n%s",
			answers, nobody, runErr, log.String())
	case nobody > 0:
		return answers, errNobody
	}
	return answers, nil
}
