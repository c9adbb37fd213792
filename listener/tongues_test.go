//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
)

// tongue is how clients speak to a generation whose connections move.
type tongue struct {
	name   string
	client *tls.Config // nil: in plain text
}

func tongues() (all []tongue) {
	all = append(all, tongue{name: "plain"})
	for _, k := range []struct{ version, suite uint16 }{
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	} {
		all = append(all, tongue{tls.VersionName(k.version) + " " + tls.CipherSuiteName(k.suite), &tls.Config{
			InsecureSkipVerify: true, ServerName: "example.com", MinVersion: k.version, MaxVersion: k.version,
			CipherSuites: []uint16{k.suite}, ClientSessionCache: tls.NewLRUClientSessionCache(64),
		}})
	}
	return all
}

// serverTLS has keys for session tickets, so that only the first client of a kind needs a whole handshake.
var serverTLS = sync.OnceValue(func() *tls.Config {
	config := certified("http/1.1")
	config.SetSessionTicketKeys([][32]byte{{1}})
	return config
})

// next starts a generation, the first where from is nil, that executes requests as s wants it.
func (w tongue) next(
	t testing.TB, from *generation, s *serials, around ...func(http.Handler) http.Handler,
) *generation {
	t.Helper()
	n := 1
	if from != nil {
		n = from.n + 1
	}
	srv := &http.Server{Handler: s.executed(echo(n))}
	for _, wrap := range around {
		srv.Handler = wrap(srv.Handler)
	}
	if w.client == nil {
		return next(t, from, srv)
	}
	return nextTLS(t, from, srv, serverTLS())
}

// over does the handshake of a client, where there is one.
func (w tongue) over(nc net.Conn) (net.Conn, error) {
	if w.client == nil {
		return nc, nil
	}
	tc := tls.Client(nc, w.client)
	return tc, tc.Handshake()
}

// serials wants the requests of each client to be executed once each and in order, whichever generation does it.
type serials struct {
	t    testing.TB
	mu   sync.Mutex
	sent map[int]int // requests, by client
	done map[int]int // likewise
}

func newSerials(t testing.TB) *serials {
	s := &serials{t: t, sent: make(map[int]int), done: make(map[int]int)}
	t.Cleanup(func() {
		for client, n := range s.sent {
			if s.done[client] != n {
				t.Errorf("client %d: %d requests of %d were executed", client, s.done[client], n)
			}
		}
	})
	return s
}

// body is that of the client's next request.
func (s *serials) body(client int, more string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[client]++
	return fmt.Sprintf("%04d/%04d %s", client, s.sent[client], more)
}

func (s *serials) executed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var client, n int
		if err == nil {
			_, err = fmt.Sscanf(string(body[:min(len(body), 10)]), "%d/%d ", &client, &n)
		}
		s.mu.Lock()
		if want := s.done[client] + 1; err != nil || n != want {
			s.t.Errorf("client %d: request %d is executed, want %d; %s of %s, %q, %v",
				client, n, want, r.Method, r.RemoteAddr, body[:min(len(body), 40)], err)
		}
		s.done[client] = n
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}

// cutter is a client whose writes can be held back and cut as they are on the wire.
type cutter struct {
	*client
	*underTLS
	serials *serials
	n       int
}

func (w tongue) dial(t testing.TB, g *generation, s *serials, n int) *cutter {
	t.Helper()
	under := &underTLS{Conn: dial(t, g).nc}
	nc, err := w.over(under)
	check(t, err)
	return &cutter{&client{t, nc, bufio.NewReader(nc)}, under, s, n}
}

// keep holds back what is written, each text in a record of its own, and returns how long the first is on the wire.
func (c *cutter) keep(texts ...string) (first int) {
	c.t.Helper()
	c.hold = true
	for i, text := range texts {
		c.send(text)
		if i == 0 {
			first = len(c.held)
		}
	}
	c.hold = false
	return first
}

// again wants an answer to one more request.
func (c *cutter) again() (generation string) {
	c.t.Helper()
	return c.ask(c.serials.body(c.n, "again"))
}

// wantCut waits until the server has read all that n clients have sent, which is a part of a request or of a record.
func (g *generation) wantCut(t testing.TB, n int) {
	t.Helper()
	g.await(t, "no bytes arrive", func(Counts) bool {
		begun := 0
		for _, c := range g.set.all() {
			if c.input.sinceIdle.Load() || c.input.inRecord.Load() {
				begun++
			}
		}
		return begun == n && g.unread() == 0
	})
}

// torn is a connection whose writes arrive in two pieces, cut anywhere.
type torn struct{ net.Conn }

func (c torn) Write(p []byte) (n int, err error) {
	n, err = c.Conn.Write(p[:rand.IntN(len(p)+1)])
	if err == nil {
		runtime.Gosched()
		var rest int
		rest, err = c.Conn.Write(p[n:])
		n += rest
	}
	return n, err
}
