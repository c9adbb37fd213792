//go:build linux

package tlsclients

import (
	"bytes"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// site is the service and its book.
type site struct {
	*flow.Node
	host, port, cert string
	generation       atomic.Int32 // that has served each client

	mu   sync.Mutex // guards what follows
	read int64      // bytes of the book
	done map[string]executions
}

func newSite(t *testing.T) *site {
	t.Helper()
	host := flow.Host()
	cert, key, _ := flow.Certificate(t, host)
	s := &site{host: host, port: "8443", cert: cert, done: map[string]executions{}}
	// No client rests as long as -idle-grace, however busy the machine is.
	s.Node = flow.NewNode(t, net.JoinHostPort(host, s.port), flow.Build(t, "internal/tally", "v1", ""),
		"-probation", "1ms", "-idle-grace", "20s", "-cert", cert, "-key", key)
	s.Flags = append(s.Flags, "-book", s.Path("book"))
	s.Control("start")
	return s
}

// executed is what the service has executed of one sort of client.
func (s *site) executed(name string) executions {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.Open(s.Path("book"))
	if err != nil {
		return nil
	}
	defer f.Close()
	news, _ := io.ReadAll(io.NewSectionReader(f, s.read, math.MaxInt64-s.read))
	news = news[:bytes.LastIndexByte(news, '\n')+1] // a line that goes over two pages comes in two parts
	for line := range strings.Lines(string(news)) {
		w := strings.Fields(line)
		of := strings.Split(w[0], "/") // /sort/client/request
		s.done[of[1]] = append(s.done[of[1]], execution{of[2], w[0], w[1], w[2], w[3], w[4]})
	}
	s.read += int64(len(news))
	return s.done[name]
}

// crowd is the clients of one sort.
type crowd struct {
	sort
	testing.TB
	site  *site
	ended chan struct{}
	own   atomic.Int32 // connections that the clients have given up by themselves

	mu     sync.Mutex // guards what follows
	told   []string   // the path of each request that was answered
	failed []string
}

// says takes what a client prints: a line for each request.
func (c *crowd) says(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path, ok := strings.CutPrefix(line, "ok "); ok {
		c.told = append(c.told, path)
	} else {
		c.failed = append(c.failed, line)
	}
}

func (c *crowd) judge(done executions) {
	c.Helper()
	for i, line := range c.failed {
		if i == 10 {
			c.Errorf("and %d more", len(c.failed)-i)
			break
		}
		c.Error(line)
	}
	executed, proto := map[string]int{}, "HTTP/1.1"
	if c.http2 {
		proto = "HTTP/2.0"
	}
	for _, x := range done {
		if executed[x.path]++; x.proto != proto {
			c.Errorf("%s came over %s", x.path, x.proto)
		}
	}
	for _, path := range c.told {
		if executed[path] != 1 {
			c.Errorf("%s was answered, and executed %d times", path, executed[path])
		}
		delete(executed, path)
	}
	if len(executed) > 0 {
		c.Errorf("executed and not answered: %v", executed)
	}
	if n := done.reached(swaps + 1); n < each {
		c.Errorf("generation %d has served %d of %d clients", swaps+1, n, each)
	}
	remote := func(x execution) string { return x.remote }
	dials, moving := len(done.all(remote)), each-len(strings.Fields(c.stays))+int(c.own.Load())
	moved := done.of(func(x execution) bool { return !strings.Contains(c.stays, x.client) })
	if n := len(moved.all(remote)); n > moving {
		c.Errorf("the clients whose connections move have made %d connections, want %d", n, moving)
	}
	versions := strings.Join(done.all(func(x execution) string { return x.version }), ", ")
	flow.Client{Name: c.title, TLS: versions, Requests: len(c.told) + len(c.failed), Failed: len(c.failed),
		Clients: each, Dials: dials, Swaps: swaps}.Report(c.TB)
}

// execution is a line of the service's book.
type execution struct{ client, path, remote, generation, proto, version string }

type executions []execution

// all are the values that there are, in order.
func (e executions) all(of func(execution) string) []string {
	values := map[string]bool{}
	for _, x := range e {
		values[of(x)] = true
	}
	return slices.Sorted(maps.Keys(values))
}

func (e executions) of(is func(execution) bool) executions {
	return slices.DeleteFunc(slices.Clone(e), func(x execution) bool { return !is(x) })
}

// reached is how many clients that generation has served.
func (e executions) reached(generation int) int {
	at := strconv.Itoa(generation)
	served := e.of(func(x execution) bool { return x.generation == at })
	return len(served.all(func(x execution) string { return x.client }))
}
