//go:build linux

package tlsclients

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/flow"
)

var body = strings.Repeat("baton", 200)

// asks has each client ask until the answer is 410.
func (c *crowd) asks(client func(i int) func(path string) (status int, said string, err error)) {
	var running sync.WaitGroup
	for i := range each {
		ask := client(i)
		running.Go(func() {
			for n := 0; c.Context().Err() == nil; n++ {
				path := fmt.Sprintf("/%s/%d/%d", c.name, i, n)
				status, said, err := ask(path)
				switch {
				case status == http.StatusGone:
					return
				case status == http.StatusOK && err == nil:
					c.says(strings.TrimSpace(said))
				default:
					c.says(fmt.Sprintf("%s: %d %s %v", path, status, said, err))
				}
				time.Sleep(rand.N(200 * time.Millisecond))
			}
		})
	}
	running.Wait()
}

// goClients have a body that can't be read twice, which keeps net/http from sending anything twice.
func goClients(c *crowd) {
	pem, err := os.ReadFile(c.site.cert)
	if err != nil {
		c.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c.asks(func(i int) func(string) (int, string, error) {
		version := []uint16{tls.VersionTLS13, tls.VersionTLS12}[i%2]
		var parting atomic.Bool // the service closes the connection
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &given{conn, &parting, sync.OnceFunc(func() {
				if !parting.Swap(false) {
					c.own.Add(1)
				}
			})}, err
		}
		transport := &http.Transport{
			DialContext:       dial,
			ForceAttemptHTTP2: c.http2,
			TLSClientConfig: &tls.Config{
				RootCAs: roots, MinVersion: version, MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			},
		}
		client := &http.Client{Transport: transport, Timeout: flow.Patience}
		c.Cleanup(transport.CloseIdleConnections)
		return func(path string) (int, string, error) {
			res, err := client.Post("https://"+c.site.Addr+path, "", io.NopCloser(strings.NewReader(body)))
			if err != nil {
				return 0, "", err
			}
			defer res.Body.Close()
			if res.Close {
				parting.Store(true)
			}
			said, err := io.ReadAll(res.Body)
			return res.StatusCode, string(said), err
		}
	})
}

// given is a connection that net/http may give up, as when it does not learn within 50 ms that its request was written.
type given struct {
	net.Conn
	parting *atomic.Bool
	up      func()
}

func (g *given) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if err != nil {
		g.parting.Store(true)
	}
	return n, err
}

func (g *given) Close() error {
	g.up()
	return g.Conn.Close()
}

// over asks with clients of draintest, on what dial returns.
func (c *crowd) over(dial func(i int) (net.Conn, error)) {
	c.asks(func(i int) func(string) (int, string, error) {
		client := &draintest.Client{
			Addr: c.site.Addr, Timeout: flow.Patience,
			Dial: func() (net.Conn, error) { return dial(i) },
		}
		c.Cleanup(client.Close)
		return func(path string) (int, string, error) {
			a, err := client.Do(http.MethodPost, path, []byte(body))
			return a.Status, string(a.Body), err
		}
	})
}

// sClient has openssl's client between the two ends, each connection a process.
func sClient(c *crowd) {
	openssl := flow.Tool(c, "openssl", "apt-get install openssl")
	c.over(func(i int) (net.Conn, error) {
		version, padding := []string{"-tls1_3", "-tls1_2"}[i%2], []string{"0", "100"}[i/2]
		if c.name != "openssl" { // TLS 1.2 has no key updates
			version, padding = "-tls1_3", "0"
		}
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer ours.Close()
		defer theirs.Close()
		// Not -quiet, which takes the letters k and K for what is to be sent.
		cmd := exec.CommandContext(c.Context(), openssl, "s_client", "-brief",
			"-connect", c.site.Addr, "-CAfile", c.site.cert,
			"-verify_return_error", version, "-record_padding", padding)
		cmd.Stdin, cmd.Stdout = theirs, theirs
		log, err := cmd.StderrPipe()
		if err != nil {
			return nil, err
		}
		conn, err := net.FileConn(ours)
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return nil, err
		}
		began := c.site.generation.Load()
		updates := map[string]func() bool{
			"openssl":   func() bool { return false },
			"keys":      func() bool { return true },
			"late-keys": func() bool { return c.site.generation.Load() > began+1 }, // it has moved by then
		}[c.name]
		s := &sConn{UnixConn: conn.(*net.UnixConn), updates: updates, updated: make(chan struct{})}
		go func() {
			for lines := bufio.NewScanner(log); lines.Scan(); {
				if lines.Text() == "KEYUPDATE" {
					s.updated <- struct{}{}
				}
			}
			close(s.updated)
			_ = cmd.Wait()
		}()
		return s, nil
	})
}

// sConn is a connection through openssl s_client.
type sConn struct {
	*net.UnixConn // so that draintest looks whether it has been closed
	updates       func() bool
	writes        int
	updated       chan struct{} // a key update of openssl's; closed at its end
}

// Write sends a request. Before every third one goes a key update, alternately with the wish for one of the service's.
func (s *sConn) Write(b []byte) (int, error) {
	if s.writes++; s.updates() && s.writes%3 == 0 {
		// What openssl reads at once is either a letter or to be sent.
		if _, err := io.WriteString(s.UnixConn, []string{"k", "K"}[s.writes%2]+"\n"); err != nil {
			return 0, err
		}
		if _, lives := <-s.updated; !lives {
			return 0, io.ErrUnexpectedEOF
		}
	}
	return s.UnixConn.Write(b)
}
