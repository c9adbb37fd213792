//go:build unix

package drain_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener"
)

// begun is what a client says before it falls silent, and what the ledger makes of that.
type begun struct {
	name  string
	after bool   // after a request that is answered
	proto string // of a handshake before; "": none, "http/1.1" or "h2"
	says  string
	part  int64
	junk  int64
}

const (
	h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settings  = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)

var begunPlain = []begun{
	{name: "nothing"},
	{name: "a byte", says: "G", part: 1},
	{name: "half a head", says: "GET / HTTP/1.1\r\nHo", part: 1},
	{name: "the head of a TLS record", says: "\x16\x03\x01", junk: 1},
	{name: "half a TLS record", says: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", junk: 1},
	{name: "half of HTTP/2's preface", says: h2Preface[:10], part: 1},
	{name: "nothing more", after: true},
	{name: "a stray line end", after: true, says: "\r\n"},
	{name: "a byte behind a request", after: true, says: "G", part: 1},
}

var begunTLS = []begun{
	{name: "nothing"},
	{name: "half the head of a record", says: "\x16\x03", part: 1},
	{name: "half a record", says: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", part: 1},
	{name: "a handshake", proto: "http/1.1"},
	{name: "a stray line end", proto: "http/1.1", after: true, says: "\r\n"},
	{name: "half of HTTP/2's preface", proto: "h2", says: h2Preface[:10]},
	{name: "no frame", proto: "h2", says: h2Preface + settings},
	{name: "half a frame", proto: "h2", says: h2Preface + settings + "\x00\x00\x10\x01"},
	{name: "a header block without its end", proto: "h2", says: h2Preface + settings +
		"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82"},
}

// begin says it, and returns what the client has then.
func (b begun) begin(s *service) *client {
	s.Helper()
	c := have(s.dialAt(s.address(), false))(s)
	s.Cleanup(func() { _ = c.Close() })
	if b.proto != "" {
		tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{b.proto}})
		if err := tc.Handshake(); err != nil {
			s.Fatalf("%s: %v", b.name, err)
		}
		c.Conn = tc
		c.r.Reset(tc)
	}
	if b.after {
		if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
			s.Fatalf("%s: %+v, %v", b.name, a, err)
		}
	}
	if _, err := io.WriteString(c, b.says); err != nil {
		s.Fatalf("%s: %v", b.name, err)
	}
	return c
}

// wantSilentEnd wants the connection to end without an answer of HTTP/1.
func (b begun) wantSilentEnd(s *service, c *client) {
	s.Helper()
	_ = c.SetReadDeadline(time.Now().Add(hung))
	got, err := io.ReadAll(c.r)
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		s.Errorf("%s: the connection stays", b.name)
	}
	if strings.Contains(string(got), "HTTP/1.") {
		s.Errorf("%s: got %q", b.name, got)
	}
}

// A client that has begun something and falls silent holds up neither a stop nor a swap for longer than its
// grace, which is far from DrainTimeout, and the exit code is 0. One whose request's body is on its way to a
// handler is waited for.
func TestWhatIsBegunDecidesNoExitCode(t *testing.T) {
	t.Parallel()
	for _, wrap := range []string{"", "embeds", "limit", "ahead", "proxy"} {
		for _, secure := range []bool{false, true} {
			for _, stops := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, TLS %v, stop %v", wrap, secure, stops), func(t *testing.T) {
					p, all := plan{Wrap: wrap, DrainTimeout: 2 * hung}, begunPlain
					if secure {
						p, all = tlsPlan(t, p), begunTLS
					}
					s := start(t, p)
					var clients []*client
					var want listener.Counts
					for _, b := range all {
						clients = append(clients, b.begin(s))
						want.Part += b.part
						want.Junk += b.junk
					}
					body := s.connect()
					if _, err := fmt.Fprint(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"); err != nil {
						t.Fatal(err)
					}
					s.status() // by now it has been read, or nearly
					if stops {
						s.signal(s.pgid, syscall.SIGTERM)
						s.event(1, "draining")
					} else {
						s.swap()
						s.event(1, "replaced")
						s.awaitOlder(1)
						s.signal(s.main().PID, syscall.SIGTERM) // some clients may be there
					}
					begin := time.Now()
					for i, b := range all {
						b.wantSilentEnd(s, clients[i])
					}
					if took := time.Since(begin); took > hung/2 {
						t.Errorf("the silent clients took %v", took)
					}
					if _, err := io.WriteString(body, "dy"); err != nil {
						t.Fatal(err)
					}
					if a, err := body.receive(); err != nil || a.status != http.StatusOK || a.body != "body" {
						t.Errorf("a request whose body was on its way: %+v, %v", a, err)
					}
					s.gone()
					s.wantExit(s.pgid, 0)
					s.wantQuickEnds(hung)
					got := s.ledger()
					if got.Lost != 0 || got.CutOff != 0 || got.Part+got.Junk > want.Part+want.Junk {
						t.Errorf("the ledger has %+v; want %+v", got, want)
					}
					if wrap == "" && (got.Part != want.Part || got.Junk != want.Junk) { // what a wrapper reads is not seen
						t.Errorf("the ledger has %+v; want %+v", got, want)
					}
				})
			}
		}
	}
}

// ledger is what all generations that have ended have in their ledgers.
func (s *service) ledger() (sum listener.Counts) {
	for _, r := range s.since(0) {
		if r.Msg == "stopped" || r.Msg == "cut off" {
			sum.Lost += r.Open.Lost
			sum.CutOff += r.Open.CutOff
			sum.Part += r.Open.Part
			sum.Junk += r.Open.Junk
		}
	}
	return sum
}
