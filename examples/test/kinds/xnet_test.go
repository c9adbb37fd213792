//go:build linux

package kinds

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/baton-go/baton/listener"
)

// TestConfiguredServer: connections over TLS of a server that golang.org/x/net/http2 has configured move, too.
func TestConfiguredServer(t *testing.T) {
	cert, key, _ := flow.Certificate(t, "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	var warned atomic.Int32
	generation := func() (*listener.Set, string) {
		set := listener.New(listener.Config{OnWarning: func(error) { warned.Add(1) }})
		ln, err := set.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			_, _ = io.WriteString(w, r.Proto+r.TLS.NegotiatedProtocol)
		})}
		if err := http2.ConfigureServer(srv, &http2.Server{MaxConcurrentStreams: 50}); err != nil {
			t.Fatal(err)
		}
		set.Track(srv)
		set.Open()
		l := set.TLSListener(srv, ln, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
		go func() { _ = set.Serve(srv, l) }()
		t.Cleanup(func() { _ = srv.Close(); set.Close() })
		// Once it serves, it takes others.
		first, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		_ = first.Close()
		return set, ln.Addr().String()
	}
	one, at := generation()
	dials := 0
	client := &http.Client{Timeout: flow.Patience, Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, at)
		}}}
	defer client.CloseIdleConnections()
	for n := range 4 {
		resp, err := client.Post("https://service/", "", strings.NewReader("hello "))
		if err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(resp.Body); err != nil || string(said) != "hello HTTP/2.0h2" {
			t.Fatalf("%q, %v", said, err)
		}
		_ = resp.Body.Close()
		if n == 3 {
			break
		}
		two, there := generation()
		ctx, cancel := context.WithTimeout(context.Background(), flow.Patience)
		err = one.Leave(ctx, func(tickets []listener.Ticket, conns []syscall.Conn) (took []bool, err error) {
			var fds []int
			for i, c := range conns {
				tickets[i].Listener = two.Listeners()[0] // here each has a port of its own
				rc, _ := c.SyscallConn()
				_ = rc.Control(func(fd uintptr) {
					copied, _ := syscall.Dup(int(fd))
					fds = append(fds, copied)
				})
			}
			err = two.AdoptFDs(tickets, fds, func(t []bool) error { took = t; return nil })
			return took, err
		}, 4*time.Second)
		if cancel(); err != nil {
			t.Fatal(err)
		}
		one, at = two, there
	}
	if dials != 1 || warned.Load() > 0 {
		t.Errorf("%d dials, %d warnings", dials, warned.Load())
	}
}
