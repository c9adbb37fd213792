//go:build unix

package drain_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"syscall"
	"testing"
	"time"
)

// halving is a connection of a client. Once it is halved, it sends a few bytes, and keeps the rest until it is told.
type halving struct {
	net.Conn
	mu     sync.Mutex // guards what follows
	halved bool
	kept   []byte
}

func (h *halving) Write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.halved {
		return h.Conn.Write(p)
	}
	if h.kept == nil {
		n, err = h.Conn.Write(p[:3])
	}
	h.kept = append(h.kept, p[n:]...)
	return len(p), err
}

func (h *halving) halve() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.halved = true
}

// has is how many bytes it keeps.
func (h *halving) has() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.kept)
}

// send sends n of the bytes that it keeps.
func (h *halving) send(n int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.Conn.Write(h.kept[:n])
	h.kept = h.kept[n:]
	return err
}

// halve returns a client of HTTP/1.1 over TLS whose connection stays with its generation: it is halved.
func (s *service) halve() (*client, *halving) {
	s.Helper()
	nc, err := net.Dial("tcp", s.address())
	must(s, err)
	s.Cleanup(func() { _ = nc.Close() })
	h := &halving{Conn: nc}
	tc := tls.Client(h, unchecked())
	c := &client{Conn: tc, r: bufio.NewReader(tc)}
	_ = have(c.ask("GET", "/whoami", ""))(s)
	h.halve()
	return c, h
}

// A connection stays with the first generation. The second one serves its requests, and begins to stop. Whether the
// connection goes on is for the first to tell: another one's "Connection: close" would lose what the client has sent
// behind.
func TestAnOldConnectionGoesOnWhileTheNextGenerationLeaves(t *testing.T) {
	begin := func(t *testing.T, p plan) *service {
		parallel(t)
		p.Owns, p.IdleGrace, p.DrainTimeout = []string{"a"}, hung, 2*hung
		return start(t, p)
	}
	// leave lets the second generation take over, and stop.
	leave := func(s *service) {
		s.Helper()
		s.swap()
		c := s.connect()
		_ = have(c.ask("GET", "/whoami", ""))(s)
		s.signal(s.main().PID, syscall.SIGTERM)
		s.eventually("the second generation to leave", func() bool {
			return have(c.ask("GET", "/whoami", ""))(s).close
		})
	}
	t.Run("HTTP", func(t *testing.T) {
		s := begin(t, tlsPlan(t, plan{}))
		c, h := s.halve()
		must(t, c.send("POST", "/own/a", "one"))
		must(t, c.send("POST", "/own/a", "two"))
		leave(s)
		must(t, h.send(h.has()))
		for _, body := range []string{"one", "two"} {
			a, err := c.receive()
			if err != nil || a.body != body || a.gen != 2 {
				t.Fatalf("%+v, %v; want %q of generation 2", a, err, body)
			}
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		s := begin(t, tlsPlan(t, plan{}))
		c := newHTTP2Client(t, s.address(), unchecked())
		h := new(halving)
		tr := c.Transport.(*http.Transport)
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, address string) (nc net.Conn, err error) {
			if h.Conn != nil {
				return nil, errors.New("no other connection")
			}
			h.Conn, err = dial(ctx, network, address)
			return h, err
		}
		must(t, c.ask("first"))
		h.halve()
		// write returns when all of the request is written, and then what waits for the answer.
		write := func(body string) (answered func() error) {
			written, answer := make(chan struct{}), make(chan error, 1)
			trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(written) }}
			go func() { answer <- c.postBy(httptrace.WithClientTrace(t.Context(), trace), "/own/a", body) }()
			<-written
			return func() error { return <-answer }
		}
		one := write("one")
		size := h.has()
		two := write("two")
		leave(s)
		must(t, h.send(size))
		must(t, one())
		must(t, h.send(h.has()))
		must(t, two())
	})
}

// The second generation has the session, and the first one the connection, which it is not to keep for longer than any.
func TestASessionOnAnOldConnectionLeavesWithThat(t *testing.T) {
	eachOf(t, func(t *testing.T, target string) {
		s := start(t, tlsPlan(t, plan{Owns: []string{"a"}, SessionSpread: 1, DrainTimeout: 2 * patient}))
		c, h := s.halve()
		must(t, c.send("GET", target, ""))
		s.swap()
		s.event(1, "replaced")
		must(t, h.send(h.has()))
		s.wantGoodbye(c)
		s.noteSince(0, s.main().PID, "endless told")
		s.wantExit(s.pgid, 0)
		s.stop()
		s.wantNothingLost()
	}, "/endless", "/endless?hijack=1")
}

// A handler of the second generation hands in work also when nothing is left there but what the first one sends.
func TestHandlersOfOldConnectionsHandInWork(t *testing.T) {
	begin := func(t *testing.T, target string) (*service, *client, *halving) {
		parallel(t)
		s := start(t, tlsPlan(t, plan{Owns: []string{"a"}, Jobs: t.TempDir(), IdleGrace: hung, SessionSpread: hung,
			DrainTimeout: 2 * hung}))
		c, h := s.halve()
		must(t, c.send("POST", target, ""))
		s.plan.SessionSpread = 2 * time.Second
		s.replan()
		s.swap()
		return s, c, h
	}
	end := func(s *service, c *client) {
		s.Helper()
		if a, err := c.receive(); err != nil || a.body != "accepted" || a.gen != 2 {
			s.Errorf("%+v, %v", a, err)
		}
		_ = c.Close()
		s.event(2, "stopped")
		s.wantJobs(map[string]bool{"one": true})
		s.wantOrder(noted(2, "queue ended"), told(2, "stopped"))
	}
	t.Run("a stop", func(t *testing.T) {
		s, c, h := begin(t, "/job?id=one")
		s.signal(s.main().PID, syscall.SIGTERM)
		s.event(2, "waiting for older generations")
		must(t, h.send(h.has()))
		end(s, c)
		s.wantOrder(told(1, "stopped"), told(2, "stopped"))
		s.gone()
	})
	t.Run("a session, and a swap", func(t *testing.T) {
		s, c, h := begin(t, "/job?id=one&endless=1")
		must(t, h.send(h.has()))
		s.noteSince(0, s.main().PID, "job begun")
		s.swap()
		end(s, c)
		s.stop()
	})
}
