package listener

import (
	"bytes"
	"encoding/binary"
	"net/http"
)

// said is how much of a request, and of what comes before one, a client has said on a connection
// that no server has got.
type said int32

const (
	saidNothing said = iota
	saidPart         // of a header of the PROXY protocol, of a handshake of TLS, of the head of a request of HTTP
	saidHello        // the whole of one of the former, and nothing behind it
	saidJunk         // what begins none of these: it may be another protocol's
	saidMore         // what can be a request
)

// greeting follows what a client says from its first byte on, until that is more than the beginning of a request.
type greeting struct {
	text  []byte   // all of it; nil when records has the rest
	shake *records // of TLS; nil: there is none yet
}

// maxGreeting is how much of a greeting is looked at. What is longer can be a request.
const maxGreeting = 16 << 10

// feed is told of the next bytes.
func (g *greeting) feed(p []byte) said {
	if g.shake != nil {
		g.shake.feed(p)
		return g.shake.said()
	}
	if len(g.text)+len(p) > maxGreeting {
		return saidMore
	}
	g.text = append(g.text, p...)
	rest, part := behindProxy(g.text)
	switch {
	case part:
		return saidPart
	case len(rest) > 0 && rest[0] == handshakeRecord:
		g.text, g.shake = nil, new(records)
		g.shake.feed(rest)
		return g.shake.said()
	}
	switch headKind(rest, false) {
	case LostPart:
		return saidPart
	case LostJunk:
		return saidJunk
	case LostRequest:
		return saidMore
	}
	return saidHello
}

// behindProxy returns what follows a header of the PROXY protocol, in version 1 or 2, or all of p
// where there is none; part is whether p may be the beginning of one.
func behindProxy(p []byte) (rest []byte, part bool) {
	const (
		most  = 107 // bytes of version 1
		fixed = 16  // bytes of version 2, of which the last two say how many follow
	)
	switch {
	case begins(p, proxy1):
		if i := bytes.IndexByte(p[:min(len(p), most)], '\n'); i >= 0 {
			return p[i+1:], false
		}
		return p, len(p) < most
	case !begins(p, proxy2):
		return p, false
	case len(p) < fixed:
		return p, true
	}
	if n := fixed + int(binary.BigEndian.Uint16(p[fixed-2:])); len(p) >= n {
		return p[n:], false
	}
	return p, true
}

// unproxy returns what is behind a header of the PROXY protocol in what was read of a new connection. A wrapper may
// read that when its server reads first, and it begins no request: as long as nothing else has come, nothing was heard.
func (c *conn) unproxy(p []byte) []byte {
	if c.state.Load()-1 != int32(http.StateNew) || !c.wrapped.Load() || c.heard.Load() && c.proxy == nil {
		return p
	}
	text := append(c.proxy, p...)
	rest, part := behindProxy(text)
	switch {
	case part || mayBeProxy(text):
		if c.proxy == nil {
			c.wake()
			c.head.add([]byte("PROXY "))
			c.inRecord.Store(c.records.Load() != nil)
		}
		c.proxy = text
		return nil
	case c.proxy != nil || len(rest) < len(text):
		c.proxy = nil
		c.head.Store(0)
		c.inRecord.Store(false)
		c.heard.Store(false)
	}
	return rest
}

// mayBeProxy tells whether p is less than the first bytes by which a header of the PROXY protocol is known.
func mayBeProxy(p []byte) bool {
	return len(p) < len(proxy1) && begins(p, proxy1) || len(p) < len(proxy2) && begins(p, proxy2)
}

// By these begin the two versions of the PROXY protocol.
const proxy1, proxy2 = "PROXY ", "\r\n\r\n\x00\r\nQUIT\n"

// said tells what records that begin with a handshake are. No request of the client's comes before
// the last record of its handshake, which in TLS 1.3 is the first that says it is application data.
func (r *records) said() said {
	switch ready := r.finished(); {
	case r.apps > 1 || r.apps == 1 && r.old:
		return saidMore
	case ready && !r.partial():
		return saidHello
	}
	return saidPart
}

// finished tells whether the client's part of a handshake has come, or the last record of it has begun.
func (r *records) finished() bool { return r.old || r.apps > 0 }
