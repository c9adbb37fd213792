package sniff

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each of these is what a connection is seen to do: "> " begins what the server reads, "< " what it writes.
func TestExchange(t *testing.T) {
	const (
		get   = "> GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
		post  = "> POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
		ok    = "< HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		plain = "rest"
	)
	for _, c := range []struct{ said, want string }{
		{"", plain}, {"> \r\n", plain}, {"> G", "partial"}, {"> GET /x HTTP/1.1\r\nHost: x\r\n", "partial"},
		{get, "open"}, {get + ok, plain}, {get + ok + get, "open"}, {get + ok + "> G", "partial"},
		{get + get + ok, "open"}, {get + get + ok + ok, plain}, {get + get[:12] + ok, "partial"},
		{get + ok[:len(ok)-1], "open"},
		{post, "open"}, {post[:len(post)-1], "open"}, {post + ok, plain}, {post[:len(post)-1] + ok, "reading"},
		{post[:len(post)-1] + ok + "> c", plain}, {post + "def" + ok, "partial"},
		{strings.ReplaceAll(get+ok, "\r\n", "\n"), plain},
		{"> POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 1\r\n\r\n" + ok, plain},
		{"> POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + ok, "reading"},
		{"> POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "lost"},
		{"> POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "lost"},
		{"> POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "lost"},
		{"> POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "lost"},
		{"> POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", "lost"}, {"> POST / HTTP/1.1\r\n folded\r\n", "lost"},
		{get + "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n", plain},
		{get + "< HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n", "open"},
		{get + "< HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", plain},
		{"> HEAD / HTTP/1.1\r\n\r\n< HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", plain},
		{get + "< HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "open"},
		{get + "< HTTP/1.1 103 Early Hints\r\n\r\n" + ok, plain},
		{get + "< HTTP/1.1 200 OK\r\n\r\nuntil the end", "open ends"},
		{get + "< HTTP/1.1 101 Switching Protocols\r\n\r\nanything", "upgraded"},
		{get + "< HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", "rest ends"},
		{"> GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "open ends"},
		{"> GET / HTTP/1.0\r\n\r\n" + ok, "rest ends"},
		{"> GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + ok, "rest ends"},
		{"> GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" +
			"< HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", plain},
		{"> POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" + ok, "lost"},
		{"> POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n< HTTP/1.1 100 Continue\r\n\r\n" +
			"> abc" + ok, plain},
		{"> POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + ok, plain},
		{ok, "lost"}, {"< 220 ready\r\n", "lost"}, {get + ok + "< more", "lost"}, {get + "< no answer\r\n", "lost"},
		{"> PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "lost"}, {"> CONNECT x:1 HTTP/1.1\r\n\r\n", "lost"},
		{"> a line\n", "lost"}, {"> \x16", "lost"}, {"> GET /" + strings.Repeat("x", longestLine), "lost"},
		{strings.Repeat(get, mostOpen), "open"}, {strings.Repeat(get, mostOpen+1), "lost"},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			var x Exchange
			for _, turn := range turns.FindAllString(c.said, -1) {
				for piece := range slices.Chunk([]byte(turn[2:]), size) {
					if turn[0] == '>' {
						x.Read(piece)
					} else {
						x.Wrote(piece)
					}
				}
			}
			if got := x.String(); got != c.want {
				t.Errorf("%.300q in pieces of %d: %s, want %s", c.said, size, got, c.want)
			}
		}
	}
}

var turns = regexp.MustCompile("[<>] [^<>]*")

func (x *Exchange) String() (s string) {
	switch {
	case x.Upgraded:
		return "upgraded"
	case x.Lost:
		return "lost"
	case x.Open() > 0:
		s = "open"
	case x.Partial():
		s = "partial"
	case x.Rest():
		s = "rest"
	default:
		s = "reading"
	}
	if x.Ends {
		s += " ends"
	}
	return s
}

// An answer can be the last where nothing follows its request, and the field that says so fits behind its first line.
func TestAnnounces(t *testing.T) {
	const get, ok = "GET /x HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		read, wrote, next string
		at                int
	}{
		{get, "", ok, 17}, {get, "", ok[:17], 17}, {get, "", ok[:16], 0}, {get, ok[:17], ok[17:], 0},
		{get + get, "", ok, 0}, {get + "G", "", ok, 0}, {get[:10], "", ok, 0},
		{get, "", "HTTP/1.1 100 Continue\r\n\r\n", 0}, {"", "", ok, 0},
		{"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "", ok, 0}, {"a line\n", "", ok, 0},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "", ok, 0}, {get, "", "HTTP/1.0 200 OK\r\n", 0},
	} {
		var x Exchange
		x.Read([]byte(c.read))
		x.Wrote([]byte(c.wrote))
		if at, ok := x.Announces([]byte(c.next)); ok != (c.at > 0) || ok && at != c.at {
			t.Errorf("%q, then %q: %d, %v, want %d", c.read+c.wrote, c.next, at, ok, c.at)
		}
	}
}
