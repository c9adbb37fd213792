//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"
)

// TestMain lets the binary of the tests be the service too.
func TestMain(m *testing.M) {
	switch os.Getenv("SERVE") {
	case "":
		flow.Main(m)
	case "well":
		main()
	default:
		drainflag.Main("APP_", drain.Config{}, naively)
	}
}

// naively is how one would begin: http3.Server on the socket that goes from process to process, or on one of each
// process's own by SO_REUSEPORT, and Shutdown.
func naively(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	var pc net.PacketConn
	if os.Getenv("SERVE") == "handed" {
		pc, err = svc.ListenPacket("udp", *addr)
	} else {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
		}}
		pc, err = lc.ListenPacket(context.Background(), "udp", *addr)
	}
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	srv := &http3.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, Handler: routes()}
	go srv.Serve(pc)
	if err := svc.Go("HTTP/3", func(context.Context) {
		<-svc.DrainStarted()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}); err != nil {
		return err
	}
	return svc.Run(context.Background())
}

const rejected = "rejected before it was begun, as clients are told (H3_REQUEST_REJECTED): quic-go sends one GOAWAY " +
	"and rejects what crosses it"

// After a GOAWAY quic-go's client closes a connection that has no stream, and does not look whether another goroutine
// opens one in that moment (http3/client.go, v0.59.1 and v0.65.0). No server can keep it from that.
const closedItself = "the client closed its own connection (H3_NO_ERROR, local) as another of its goroutines asked"

// TestTenSwaps has clients of which each has some goroutines that ask on one connection, and never twice. It prints
// what they lose where the service is the example, and where it is served naively.
func TestTenSwaps(t *testing.T) {
	for _, x := range []struct{ serve, name, why string }{
		{"well", "HTTP/3", ""},
		{"handed", "HTTP/3, `http3.Server` on `ListenPacket`'s socket and no more",
			"the packets of older connections come to the new process, which drops them"},
		{"reuseport", "HTTP/3, `http3.Server` on a socket of each process's own (SO_REUSEPORT)",
			"the kernel spreads the packets of older connections over all sockets"},
	} {
		why := x.why
		t.Run(x.serve, func(t *testing.T) {
			t.Parallel()
			host := flow.Host()
			cert, key, pool := flow.Certificate(t, host)
			n := flow.NewNode(t, host+":8443", os.Args[0],
				"-probation", "1ms", "-cert", cert, "-key", key, "-idle-grace", "1s")
			n.Flags = append(n.Flags, "-peers", n.Path("peers"))
			n.Prefix = []string{"env", "SERVE=" + x.serve}
			n.Control("start")
			crowds := []*crowd{
				{n: 4, atOnce: 1, body: once, Kind: flow.Kind{Client: "Go, POST of a body that can't be read twice"}},
				{n: 1, atOnce: 1, body: once, Kind: flow.Kind{Client: "Go, new connection each, POST", Closed: -1}},
				{n: 2, atOnce: 1, body: slow, Kind: flow.Kind{Client: "Go, an upload that a swap comes into"}},
				{n: 1, atOnce: 4, body: twice, Kind: flow.Kind{Client: "Go, 4 at once, POST"}},
				{n: 1, atOnce: 4, body: once,
					Kind: flow.Kind{Client: "Go, 4 at once, POST of a body that can't be read twice"}},
			}
			if why != "" {
				crowds = crowds[:2]
			}
			over, stopped := make(chan struct{}), make(chan struct{})
			var asking, clients sync.WaitGroup
			for _, c := range crowds {
				c.url, c.pool, c.patience, c.lost = "https://"+n.Addr+"/echo", pool, 2*flow.Patience, map[string]int{}
				if why != "" {
					c.patience = time.Second
				}
				for range c.n {
					clients.Go(func() { c.client(&asking, over, stopped) })
				}
			}
			flowing := func() {
				for _, c := range crowds {
					before := c.answered.Load()
					flow.Eventually(t, c.Client+": an answer", func() bool { return c.answered.Load() > before })
				}
			}
			flowing()
			for range 10 {
				n.Swaps(1)
				flowing()
			}
			close(over)
			asking.Wait()
			n.Stop() // with connections that rest
			close(stopped)
			clients.Wait()
			all := flow.Kind{Name: x.name, Client: "Go, POST, kept or new connections",
				Closed: -1, Resumed: -1, Except: why}
			for _, c := range crowds {
				c.Name = x.name
				c.report(t, &all)
			}
			if why != "" {
				all.Report(t)
			}
		})
	}
}

// crowd is n clients.
type crowd struct {
	flow.Kind // its counts are the crowd's
	n, atOnce int
	body      func() io.Reader

	url      string
	pool     *x509.CertPool
	patience time.Duration
	answered atomic.Int32
	mu       sync.Mutex // guards what follows, and the counts
	lost     map[string]int
	dials    int
}

// client has its goroutines ask, and leaves its connection open until the service has stopped.
func (c *crowd) client(asking *sync.WaitGroup, over, stopped <-chan struct{}) {
	sessions := tls.NewLRUClientSessionCache(0)
	var by atomic.Pointer[http3.Transport]
	renew := func(old *http3.Transport) {
		next := &http3.Transport{
			TLSClientConfig: &tls.Config{RootCAs: c.pool, ClientSessionCache: sessions},
			Dial:            c.dial,
		}
		if by.CompareAndSwap(old, next) && c.Closed < 0 && old != nil {
			_ = old.Close()
		}
	}
	renew(nil)
	for range c.atOnce {
		asking.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(rand.N(40 * time.Millisecond)):
				}
				with := by.Load()
				err := c.post(with)
				c.mu.Lock()
				c.Sent++
				if err != nil {
					c.lost[err.Error()]++
				}
				c.mu.Unlock()
				if err == nil {
					c.answered.Add(1)
				}
				if c.Closed < 0 || err != nil && !strings.Contains(err.Error(), http3.ErrCodeRequestRejected.String()) {
					renew(with)
				}
			}
		})
	}
	<-stopped
	_ = by.Load().Close()
}

func (c *crowd) dial(ctx context.Context, address string, config *tls.Config, q *quic.Config) (*quic.Conn, error) {
	conn, err := quic.DialAddr(ctx, address, config, q)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dials++
	if err == nil && conn.ConnectionState().TLS.DidResume {
		c.Resumed++
	}
	return conn, err
}

func (c *crowd) post(by http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, c.body())
	if err != nil {
		return err
	}
	res, err := by.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || len(got) < len(piece) || len(bytes.Trim(got, "x")) > 0) {
		err = fmt.Errorf("%s %s %.80q", res.Proto, res.Status, got)
	}
	return err
}

var piece = bytes.Repeat([]byte("x"), 1000)

func twice() io.Reader { return bytes.NewReader(piece) }
func once() io.Reader  { return io.NopCloser(twice()) }

func slow() io.Reader {
	r, w := io.Pipe()
	go func() {
		for range 10 {
			time.Sleep(20 * time.Millisecond)
			for range 20 {
				_, _ = w.Write(piece) // to nobody where the request has failed
			}
		}
		_ = w.Close()
	}()
	return r
}

// report adds what this crowd has seen to all, or reports it where all needs no reason.
func (c *crowd) report(t *testing.T, all *flow.Kind) {
	own := (&http3.Error{ErrorCode: http3.ErrCodeNoError}).Error()
	for why, times := range c.lost {
		t.Logf("%s: %d times %s", c.Client, times, why)
		c.Lost += times
		switch {
		case strings.Contains(why, http3.ErrCodeRequestRejected.String()):
			c.Except = rejected
		case strings.Contains(why, own) && c.atOnce > 1:
			c.Except = closedItself
		case all.Except == "":
			t.Errorf("%s: that is no exception", c.Client)
		}
	}
	all.Sent += c.Sent
	all.Lost += c.Lost
	if all.Except == "" {
		if c.Closed == 0 {
			c.Closed = c.dials - c.n
		}
		c.Report(t)
	}
}
