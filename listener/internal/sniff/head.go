// Package sniff tells from the bytes that a client sends what they are, without a server that reads
// them.
package sniff

import (
	"bytes"
	"sync/atomic"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// What of a request's head (RFC 9112, 2 and 3) matters for the ledger.

// Kind tells what a client has sent; "" is nothing.
type Kind string

// The kinds.
const (
	Request Kind = "request" // the whole head of a request
	Part    Kind = "part"    // the beginning of a request
	Junk    Kind = "junk"    // bytes that begin no request
)

// RequestLines counts the ends of request lines in what a client sends.
type RequestLines struct {
	Ahead     atomic.Int32 // of requests that have not begun
	Matched   atomic.Int32 // how much of such an end the last bytes are
	Pipelined atomic.Bool  // one request was sent behind another
}

// version is the end of a request line, but for a digit and the beginning of a line end.
const version = " HTTP/1."

// LineEnd is how many bytes such an end has, as far as it is looked at.
const LineEnd = len(version) + 2

// Feed is called by one goroutine at a time.
func (l *RequestLines) Feed(p []byte) {
	if m := int(l.Matched.Load()); m > 0 {
		l.Matched.Store(0)
		end := LineEnd - m
		if n := matchVersion(m, p); n == end {
			l.Ahead.Add(1)
		} else if n == len(p) {
			l.Matched.Store(int32(m + n))
			return
		}
	}
	for {
		i := bytes.Index(p, []byte(version[1:])) - 1 // an H is rarer than a space
		if i < -1 {
			break
		}
		if i < 0 || p[i] != version[0] {
			p = p[i+2:]
			continue
		}
		n := len(version) + matchVersion(len(version), p[i+len(version):])
		if p = p[i+n:]; n == LineEnd {
			l.Ahead.Add(1)
		} else if len(p) == 0 {
			l.Matched.Store(int32(n))
			return
		}
	}
	if len(p) > 0 && p[len(p)-1] == '\n' { // which no such end goes on behind
		return
	}
	tail := p[max(0, len(p)-len(version)):]
	if i := bytes.LastIndexByte(tail, ' '); i >= 0 && matchVersion(0, tail[i:]) == len(tail)-i {
		l.Matched.Store(int32(len(tail) - i))
	}
}

// matchVersion tells how many of the first bytes of p are the end of a request line, of which m
// bytes came before.
func matchVersion(m int, p []byte) (n int) {
	for n = 0; n < len(p) && m+n < LineEnd; n++ {
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

// Take counts one off: a request begins.
func (l *RequestLines) Take() {
	n := l.Ahead.Load()
	if n > 0 {
		l.Ahead.Store(n - 1)
	}
	if n > 1 && !l.Pipelined.Load() {
		l.Pipelined.Store(true)
	}
}

// Clear forgets what was counted.
func (l *RequestLines) Clear() {
	if l.Ahead.Load() != 0 || l.Matched.Load() != 0 {
		l.Ahead.Store(0)
		l.Matched.Store(0)
	}
}

// HeadEnds tells whether the empty line is there that ends a head.
func HeadEnds(p []byte) bool {
	return bytes.Contains(p, []byte("\n\r\n")) || bytes.Contains(p, []byte("\n\n"))
}

// HeadKind tells what a client has sent where a request should be; more, that this is not all of
// it. Empty lines are nothing: clients send one behind a POST (RFC 9112, 2.2).
func HeadKind(p []byte, more bool) Kind {
	p = bytes.TrimLeft(p, "\r\n")
	if len(p) == 0 {
		return ""
	}
	if Begins(p, h2frame.Preface) {
		if len(p) < len(h2frame.Preface) {
			return Part
		}
		return Request
	}
	method, rest, spaced := bytes.Cut(p, []byte(" "))
	const longest = 32 // what a method may have; nobody's has as many
	if len(method) == 0 || len(method) > longest || bytes.ContainsFunc(method, notInToken) {
		return Junk
	}
	if !spaced {
		return Part
	}
	line, _, ended := bytes.Cut(rest, []byte("\n"))
	if !ended {
		if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\r' }) {
			return Junk
		}
		return Part
	}
	if i := bytes.Index(line, []byte(version)); i < 1 || !ended ||
		matchVersion(0, append(line[i:len(line):len(line)], '\n')) != LineEnd {
		return Junk
	}
	if HeadEnds(p) || more {
		return Request
	}
	return Part
}

// LooksLikeHead tells whether p begins with a whole request line. What is left of a body seldom
// does.
func LooksLikeHead(p []byte) bool { return HeadKind(p, true) == Request }

// Begins tells whether p begins as whole does, as far as both go.
func Begins(p []byte, whole string) bool {
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
