package sniff

import (
	"bytes"
	"strconv"
	"strings"
)

// message is a request or an answer of HTTP/1 (RFC 9112), of which only its end matters.
type message struct {
	at   place
	line []byte // the beginning of one, while its end has not come
	left int64  // of the body, or of a chunk

	old            bool  // of HTTP/1.0
	head, expects  bool  // of a request: its method is HEAD; it has the field Expect
	code           int   // of an answer
	sized, chunked bool  // what the fields Content-Length and Transfer-Encoding say of the body
	length         int64 // that Content-Length says
	closes, keeps  bool  // what the field Connection says
}

// place is where in a message the next byte belongs.
type place int8

const (
	atStart    place = iota // in the first line, or in an empty one before it
	inFields                // in a line of the head
	headDone                // until the owner says how the body ends
	inBody                  // of a known length
	toTheEnd                // in a body that ends with the connection
	atChunk                 // in the line with the size of a chunk
	inChunk                 // in its data
	afterChunk              // in the line end behind these
	inTrailer               // in a line behind the last chunk
	done
)

// longestLine is how much of a line is kept that does not come in one piece.
const longestLine = 16 << 10

// take follows one line, or bytes of the body, at the beginning of p, which is not empty. It returns the bytes of p
// behind that. First reads the message's first line. Take reports false where the message can't be followed.
func (m *message) take(p []byte, first func(m *message, line string) bool) (rest []byte, ok bool) {
	switch m.at {
	case toTheEnd:
		return nil, true
	case inBody, inChunk:
		n := min(m.left, int64(len(p)))
		if m.left -= n; m.left == 0 && m.at == inBody {
			m.at = done
		} else if m.left == 0 {
			m.at = afterChunk
		}
		return p[n:], true
	case atStart:
		if b := rune(p[0]); len(m.line) == 0 && b != '\r' && b != '\n' && notInToken(b) {
			return nil, false
		}
	}
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		m.line = append(m.line, p...)
		return nil, len(m.line) <= longestLine
	}
	line := p[:i]
	if len(m.line) > 0 {
		line, m.line = append(m.line, line...), nil
	}
	return p[i+1:], m.takeLine(bytes.TrimSuffix(line, []byte("\r")), first)
}

func (m *message) takeLine(line []byte, first func(m *message, line string) bool) bool {
	empty := len(line) == 0
	switch m.at {
	case atStart:
		if empty {
			return true
		}
		m.at = inFields
		return first(m, string(line))
	case inFields:
		if empty {
			m.at = headDone
			return true
		}
		return m.field(line)
	case atChunk:
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 62)
		m.left, m.at = int64(n), inChunk
		if n == 0 {
			m.at = inTrailer
		}
		return err == nil
	case afterChunk:
		m.at = atChunk
		return empty
	case inTrailer:
		if empty {
			m.at = done
		}
		return true
	}
	return false
}

// request reads the first line of one.
func (m *message) request(line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	m.head, m.old = method == "HEAD", version == "HTTP/1.0"
	return method != "" && method != "CONNECT" && !strings.ContainsFunc(method, notInToken) && target != "" &&
		(m.old || version == "HTTP/1.1")
}

// status reads the first line of an answer.
func (m *message) status(line string) bool {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	m.code, m.old = n, version == "HTTP/1.0"
	return err == nil && 100 <= n && n < 1000 && (m.old || version == "HTTP/1.1")
}

func (m *message) field(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || line[0] == ' ' || line[0] == '\t' {
		return false
	}
	is := func(what string) bool { return len(name) == len(what) && strings.EqualFold(string(name), what) }
	switch {
	case is("Content-Length"):
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 62)
		again := m.sized && m.length != int64(n)
		m.sized, m.length = true, int64(n)
		return err == nil && !again
	case is("Transfer-Encoding"):
		again := m.chunked
		m.chunked = strings.EqualFold(string(bytes.TrimSpace(value)), "chunked")
		return m.chunked && !again
	case is("Connection"):
		for option := range strings.SplitSeq(strings.ToLower(string(value)), ",") {
			switch strings.TrimSpace(option) {
			case "close":
				m.closes = true
			case "keep-alive":
				m.keeps = true
			}
		}
	case is("Expect"):
		m.expects = true
	}
	return true
}

// untouched tells whether none of the message has come. Empty lines may have.
func (m *message) untouched() bool { return m.at == atStart && len(m.line) == 0 }

// ends tells whether the message says that its connection ends behind it.
func (m *message) ends() bool { return m.closes || m.old && !m.keeps }

// body goes on from the end of the head to the body, or to the end of a message without one. It reports false where the
// fields contradict each other.
func (m *message) body() bool {
	switch {
	case m.chunked:
		m.at = atChunk
		return !m.sized
	case m.length > 0:
		m.at, m.left = inBody, m.length
	default:
		m.at = done
	}
	return true
}
