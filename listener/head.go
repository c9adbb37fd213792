package listener

import (
	"bytes"
	"sync/atomic"
)

// What of a request's head (RFC 9112, 2 and 3) matters for the ledger.

// requestLines counts the ends of request lines in what a client sends.
type requestLines struct {
	ahead   atomic.Int32 // of requests that have not begun
	matched atomic.Int32 // how much of such an end the last bytes are
	piled   atomic.Bool  // one request was sent behind another
}

// version is the end of a request line, but for a digit and the beginning of a line end.
const version = " HTTP/1."

// lineEnd is how many bytes such an end has, as far as it is looked at.
const lineEnd = len(version) + 2

// feed is called by one goroutine at a time.
func (l *requestLines) feed(p []byte) {
	if m := int(l.matched.Load()); m > 0 {
		l.matched.Store(0)
		end := lineEnd - m
		if n := matchVersion(m, p); n == end {
			l.ahead.Add(1)
		} else if n == len(p) {
			l.matched.Store(int32(m + n))
			return
		}
	}
	for {
		i := bytes.Index(p, []byte(version))
		if i < 0 {
			break
		}
		n := matchVersion(0, p[i:])
		if p = p[i+n:]; n == lineEnd {
			l.ahead.Add(1)
		} else if len(p) == 0 {
			l.matched.Store(int32(n))
			return
		}
	}
	tail := p[max(0, len(p)-len(version)):]
	if i := bytes.LastIndexByte(tail, ' '); i >= 0 && matchVersion(0, tail[i:]) == len(tail)-i {
		l.matched.Store(int32(len(tail) - i))
	}
}

// matchVersion tells how many of the first bytes of p are the end of a request line, of which m bytes came before.
func matchVersion(m int, p []byte) (n int) {
	for n = 0; n < len(p) && m+n < lineEnd; n++ {
		switch b, i := p[n], m+n; {
		case i < len(version) && b == version[i]:
		case i == len(version) && '0' <= b && b <= '9':
		case i > len(version) && (b == '\r' || b == '\n'):
		default:
			return n
		}
	}
	return n
}

// take counts one off: a request begins.
func (l *requestLines) take() {
	n := l.ahead.Load()
	if n > 0 {
		l.ahead.Store(n - 1)
	}
	if n > 1 && !l.piled.Load() {
		l.piled.Store(true)
	}
}

// clear forgets what was counted.
func (l *requestLines) clear() {
	if l.ahead.Load() != 0 || l.matched.Load() != 0 {
		l.ahead.Store(0)
		l.matched.Store(0)
	}
}

// headEnds tells whether the empty line is there that ends a head.
func headEnds(p []byte) bool {
	return bytes.Contains(p, []byte("\n\r\n")) || bytes.Contains(p, []byte("\n\n"))
}

// headKind tells what a client has sent where a request should be; more, that this is not all of it. Empty lines are
// nothing: clients send one behind a POST (RFC 9112, 2.2).
func headKind(p []byte, more bool) LossKind {
	p = bytes.TrimLeft(p, "\r\n")
	if len(p) == 0 {
		return ""
	}
	if begins(p, preface) {
		if len(p) < len(preface) {
			return LostPart
		}
		return LostRequest
	}
	method, rest, spaced := bytes.Cut(p, []byte(" "))
	const longest = 32 // what a method may have; nobody's has as many
	if len(method) == 0 || len(method) > longest || bytes.ContainsFunc(method, notInToken) {
		return LostJunk
	}
	if !spaced {
		return LostPart
	}
	line, _, ended := bytes.Cut(rest, []byte("\n"))
	if !ended {
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\r' }) {
			return LostJunk
		}
		return LostPart
	}
	if i := bytes.Index(line, []byte(version)); i < 1 || !ended ||
		matchVersion(0, append(line[i:len(line):len(line)], '\n')) != lineEnd {
		return LostJunk
	}
	if headEnds(p) || more {
		return LostRequest
	}
	return LostPart
}

// looksLikeHead tells whether p begins with a whole request line. What is left of a body seldom does.
func looksLikeHead(p []byte) bool { return headKind(p, true) == LostRequest }

// begins tells whether p begins as whole does, as far as both go.
func begins(p []byte, whole string) bool {
	n := min(len(p), len(whole))
	return string(p[:n]) == whole[:n]
}

func notInToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !bytes.ContainsRune([]byte("!#$%&'*+-.^_`|~"), r)
}

// recordsKind is headKind for records of TLS, of which n bytes have come, and p are the first: it can't be seen what is
// in them. One as short as an alert is no request.
func recordsKind(p []byte, n int) LossKind {
	for kind := LossKind(""); ; {
		if len(p) < 5 {
			if len(p) > 0 && kind == "" {
				return LostPart
			}
			return kind
		}
		if p[0] < 20 || p[0] > 24 || p[1] != 3 {
			return LostJunk
		}
		length := 5 + int(p[3])<<8 + int(p[4])
		switch {
		case p[0] == applicationData && length > maxAlert && length <= n:
			return LostRequest
		case length > len(p):
			return LostPart
		case p[0] == handshakeRecord:
			kind = LostPart
		}
		p, n = p[length:], n-length
	}
}

// prefix is the first bytes of what a client has sent, and how many there are, in its lowest byte.
type prefix struct{ atomic.Uint64 }

// add is called by one goroutine at a time.
func (x *prefix) add(p []byte) {
	v := x.Load()
	n := v & 0xff
	if n == 7 {
		return
	}
	for _, b := range p[:min(len(p), int(7-n))] {
		n++
		v |= uint64(b) << (8 * n)
	}
	x.Store(v&^0xff | n)
}

func (x *prefix) kind() LossKind {
	v := x.Load()
	if v&0xff == 0 { // it came together with the request before
		return LostPart
	}
	var p [7]byte
	for i := range p {
		p[i] = byte(v >> (8 * (i + 1)))
	}
	switch kind := headKind(p[:v&0xff], false); kind {
	case LostRequest:
		return LostPart // the rest was not there
	default:
		return kind
	}
}
