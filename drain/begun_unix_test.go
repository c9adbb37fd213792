//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
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
	type row struct {
		wrap          string
		secure, stops bool
	}
	var rows []row
	for _, wrap := range []string{"", "embeds", "limit", "ahead", "proxy"} {
		rows = append(rows, row{wrap, false, true}, row{wrap, false, false},
			row{wrap, true, true}, row{wrap, true, false})
	}
	eachOf(t, func(t *testing.T, c row) {
		p, all := plan{Wrap: c.wrap, DrainTimeout: 2 * hung}, begunPlain
		if c.secure {
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
		_ = have(io.WriteString(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"))(t)
		s.status() // by now it has been read, or nearly
		if c.stops {
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
		_ = have(io.WriteString(body, "dy"))(t)
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
		if c.wrap == "" && (got.Part != want.Part || got.Junk != want.Junk) { // what a wrapper reads is not seen
			t.Errorf("the ledger has %+v; want %+v", got, want)
		}
	}, rows...)
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

// What a listener around the service's has accepted, and no server knows yet, has begun no request as long as
// its client has said nothing, or a part of what comes before one. It holds up neither a stop nor a swap for
// longer than its grace.
func TestSilentClientsOfAWrapperHoldNobody(t *testing.T) {
	const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	type row struct {
		wrap, says            string
		secure, before, stops bool // before: somebody takes the only place first
	}
	var rows []row
	for wrap, says := range map[string][]string{
		"proxy in Accept": {"", "P", proxyHeader[:9], proxyHeader, proxyHeader2[:3], proxyHeader2[:15], proxyHeader2},
		"proxy":           {"", "P", proxyHeader[:9], "PO"},
		"mux":             {"", "G", "POST"},
		"limit one":       {"", "G"},
		"queue one":       {"", "G"},
		"TLS in Accept":   {"", "\x16\x03", hello},
	} {
		for _, text := range says {
			r := row{wrap: wrap, says: text, secure: wrap == "TLS in Accept", before: strings.HasSuffix(wrap, " one")}
			rows = append(rows, r)
			r.stops = true
			rows = append(rows, r)
		}
	}
	eachOf(t, func(t *testing.T, c row) {
		p := plan{Wrap: c.wrap, IdleGrace: 300 * time.Millisecond, DrainTimeout: 2 * hung}
		if c.secure {
			p = tlsPlan(t, p)
		}
		s := start(t, p, withControl)
		open := 1
		if c.before {
			open++
			if a, err := s.connect().ask("POST", "/echo", "x"); err != nil || a.body != "x" {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		silent := begun{name: c.wrap, says: c.says}.raw(s)
		s.eventualControl("the client is accepted", func(st drain.Status) bool { return st.Open.Open() == open })
		if c.stops {
			s.signal(s.pgid, syscall.SIGTERM)
		} else {
			s.swap()
			s.wantExit(s.pgid, 0)
			s.signal(s.main().PID, syscall.SIGTERM)
		}
		begun{name: c.says}.wantSilentEnd(s, silent)
		s.gone()
		if c.stops {
			s.wantExit(s.pgid, 0)
		}
		s.wantQuickEnds(hung / 2)
		if got := s.ledger(); got.Lost != 0 || got.CutOff != 0 {
			t.Errorf("the ledger has %+v", got)
		}
	}, rows...)
}

// Another server behind a mux, of which the service knows nothing, is left the time it takes for what it was asked; a
// client of either that has said nothing is not waited for.
func TestOtherServersOfAMuxAnswer(t *testing.T) {
	eachOf(t, func(t *testing.T, stops bool) {
		s := start(t, plan{Wrap: "mux", IdleGrace: 200 * time.Millisecond, DrainTimeout: 2 * hung}, withControl)
		asks := begun{says: "echo hello\n"}.raw(s)
		begun{}.raw(s)
		s.eventualControl("the clients are accepted", func(st drain.Status) bool {
			return st.Open.Other == 1 &&
				st.Open.Open() == 2
		})
		if stops {
			s.signal(s.pgid, syscall.SIGTERM)
		} else {
			s.swap()
		}
		_ = asks.SetReadDeadline(time.Now().Add(hung))
		if line, err := asks.r.ReadString('\n'); err != nil || line != "echo hello\n" {
			t.Errorf("got %q, %v", line, err)
		}
		_ = asks.Close()
		s.wantExit(s.pgid, 0)
		if !stops {
			s.stop()
		}
		if got := s.ledger(); got.Lost != 0 || got.CutOff != 0 {
			t.Errorf("the ledger has %+v", got)
		}
	}, true, false)
}

// Requests that have come as far as a wrapper are answered, over swaps and a stop.
func TestRequestsInsideAWrapperAreAnswered(t *testing.T) {
	eachOf(t, func(t *testing.T, wrap string) {
		p := plan{Wrap: wrap, IdleGrace: patient, DrainTimeout: 2 * hung, MaxGenerations: 16}
		if wrap == "TLS in Accept" {
			p = tlsPlan(t, p)
		}
		s := start(t, p)
		hurries := s.driveBy(func() (*client, error) { return dial(s) }, 0, 4, 0)
		stays := s.drive(2, 4*time.Millisecond)
		for range 4 {
			old := s.main().PID
			silent := begun{name: wrap}.raw(s)
			s.swap()
			_ = silent.Close() // in Accept, it has kept the others waiting
			hurries.settle()
			stays.settle()
			s.wantExit(old, 0)
		}
		hurries.end()
		stays.endWith(1 << 30)
		last := s.untilLast(6)
		s.stop()
		last()
		s.wantNothingLost()
	}, "proxy in Accept", "proxy", "mux", "queue", "TLS in Accept")
}

// raw says it on a connection, with nothing before.
func (b begun) raw(s *service) *client {
	s.Helper()
	nc := have(net.DialTimeout(s.plan.Network, s.address(), hung))(s)
	s.Cleanup(func() { _ = nc.Close() })
	if _, err := io.WriteString(nc, b.says); err != nil {
		s.Fatalf("%s: %v", b.name, err)
	}
	return &client{Conn: nc, r: bufio.NewReader(nc)}
}

// eventualControl is eventualStatus where a client holds the listener up.
func (s *service) eventualControl(what string, is func(drain.Status) bool) {
	s.Helper()
	s.eventually(what, func() bool { return is(s.mustControl("status")) })
}
