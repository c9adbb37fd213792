//go:build linux

// Package tlsclients swaps a service ten times under clients that speak TLS, each by a library or a program of its
// own. None of them retries. What they were told is compared with what the service has executed.
package tlsclients

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

const (
	swaps = 10
	each  = 4 // clients of a sort: those with an even number speak TLS 1.3, the others 1.2
)

// sort is one sort of client. run returns when the service has answered 410 to each of them.
type sort struct {
	name, title string // in paths, in the table
	run         func(*crowd)
	// stays are the numbers of the clients whose connections can't move. The service closes them between two requests.
	stays string
	http2 bool
}

var sorts = slices.Concat(http1, []sort{
	{"go-h2", "Go, net/http, HTTP/2", goClients, "", true},
	{"curl-h2", "curl, HTTP/2", curl, "", true},
	{"node-h2", "Node, http2", node, "", true},
	{"haproxy-h2", "HAProxy, `alpn h2`", haproxy, "", true},
})

var http1 = []sort{
	{"go", "Go, net/http", goClients, "", false},
	{"curl", "curl", curl, "", false},
	{"http.client", "Python, http.client", python, "", false},
	{"requests", "Python, requests", python, "", false},
	{"java", "Java, java.net.http", java, "", false}, // it pads records of TLS 1.3
	{"node", "Node, https.Agent", node, "", false},
	{"nginx", "nginx, `proxy_ssl`", nginx, "", false},
	{"haproxy", "HAProxy, `server ssl`", haproxy, "", false},
	{"openssl", "`openssl s_client`", sClient, "", false}, // one of which pads
	{"keys", "`openssl s_client`, key updates", sClient, "0 1 2 3", false},
	{"late-keys", "`openssl s_client`, key updates after the first swap", sClient, "", false},
}

// TestClients: each request that a client was answered was executed, once, and none else. None fails, and no client
// has to make its connection again.
func TestClients(t *testing.T) {
	s := newSite(t)
	var running sync.WaitGroup
	var crowds []*crowd
	defer func() {
		flow.WriteFile(t, s.Dir, "book.closed", "")
		running.Wait()
	}()
	for _, x := range sorts {
		c := &crowd{sort: x, site: s, ended: make(chan struct{})}
		crowds = append(crowds, c)
		running.Go(func() {
			defer close(c.ended) // also where -run leaves it out
			t.Run(x.name, func(t *testing.T) {
				c.TB = t
				x.run(c)
				c.judge(s.executed(x.name))
			})
		})
	}
	for n := range swaps + 1 {
		if n > 0 {
			s.Swaps(1)
		}
		for _, c := range crowds { // so that each connection goes through each swap
			flow.Eventually(t, fmt.Sprintf("generation %d has served each of %s", n+1, c.title), func() bool {
				select {
				case <-c.ended:
					return true // too early for judge, if it has run at all
				default:
					return c.site.executed(c.name).reached(n+1) == each
				}
			})
		}
		s.generation.Store(int32(n + 1))
	}
}

// noted is a test that notes its errors.
type noted struct {
	testing.TB
	errors []any
}

func (n *noted) Helper()                           {}
func (n *noted) Log(...any)                        {}
func (n *noted) Error(args ...any)                 { n.errors = append(n.errors, args...) }
func (n *noted) Errorf(format string, args ...any) { n.Error(fmt.Sprintf(format, args...)) }

// TestJudge: a check that can't fail would show nothing.
func TestJudge(t *testing.T) {
	t.Setenv("BATON_TABLE", "")
	more := execution{"0", "/x/0/1", "a:9", "11", "HTTP/1.1", "1.3"}
	for want, spoil := range map[string]func(*crowd, executions) executions{
		"no line": func(_ *crowd, done executions) executions { return done }, // in the table
		"failed /x": func(c *crowd, done executions) executions {
			c.says("failed /x/0/1: 0")
			return done
		},
		"and executed 2 times": func(_ *crowd, done executions) executions { return append(done, done[0]) },
		"and executed 0 times": func(c *crowd, done executions) executions {
			c.says("ok " + more.path)
			return done
		},
		"executed and not answered": func(_ *crowd, done executions) executions { return append(done, more) },
		"has served 3 of 4 clients": func(_ *crowd, done executions) executions {
			done[0].generation = "10"
			return done
		},
		"/x/0/0 came over HTTP/2.0": func(_ *crowd, done executions) executions {
			done[0].proto = "HTTP/2.0"
			return done
		},
		"have made 4 connections, want 3": func(_ *crowd, done executions) executions { return append(done, more) },
	} {
		tb := &noted{}
		c := &crowd{TB: tb, sort: sort{stays: "3"}}
		var done executions
		for i := range each {
			x := execution{fmt.Sprint(i), fmt.Sprintf("/x/%d/0", i), fmt.Sprint("a:", i), "11", "HTTP/1.1", "1.3"}
			done = append(done, x)
			c.says("ok " + x.path)
		}
		c.judge(spoil(c, done))
		if got := fmt.Sprint(tb.errors...); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
