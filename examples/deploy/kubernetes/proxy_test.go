//go:build linux

package kubernetes

import (
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// proxy stands in for kube-proxy: a new connection goes to any one of the
// endpoints, an established one stays where it is. Who can't be reached costs
// the client its connection, as the kernel would have it.
type proxy struct {
	addr string
	mu   sync.Mutex // guards what follows
	ends []string   // host:port
	sent map[string]int
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", flow.Host()+":80")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: ln.Addr().String(), sent: map[string]int{}}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c.(*net.TCPConn))
		}
	}()
	return p
}

func (p *proxy) serve(client *net.TCPConn) {
	pod, err := net.DialTimeout("tcp", p.choose(), flow.Patience)
	if err != nil {
		_ = client.SetLinger(0)
		_ = client.Close()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { pass(client, pod.(*net.TCPConn)) })
	wg.Go(func() { pass(pod.(*net.TCPConn), client) })
	wg.Wait()
	_, _ = pod.Close(), client.Close()
}

// pass hands everything on, the end and a reset included.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.SetLinger(0)
		_ = to.Close()
		return
	}
	_ = to.CloseWrite()
}

func (p *proxy) choose() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ends) == 0 {
		return "127.0.0.1:1" // nobody is there
	}
	end := p.ends[rand.N(len(p.ends))]
	p.sent[end]++
	return end
}

// Sent returns how many connections have gone to an endpoint.
func (p *proxy) Sent(end string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[end]
}

func (p *proxy) has(end string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.ends, end)
}

func (p *proxy) set(end string, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends = slices.DeleteFunc(p.ends, func(e string) bool { return e == end })
	if in {
		p.ends = append(p.ends, end)
	}
}
