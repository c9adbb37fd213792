package listener

import (
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// protocol is what a client speaks, as far as that is known. It tells how the connection comes to
// rest, and what its client loses at the end. The types are views of a conn.
type protocol interface {
	// atRest tells, on the goroutine that reads, whether the server waits for the first byte of a
	// request and holds none of it, not even in a buffer. The read offers a buffer of that length.
	// Ahead tells whether a request line was read whose request has not begun.
	atRest(offered int, ahead bool) bool

	movable() bool                  // what the kernel has of the connection is all there is to it
	received(p []byte, offered int) // is told what was read, into a buffer of that length
	rejects(p []byte) bool          // p, written while the server waits, says that a request is malformed

	// These tell what is lost, "" where no client misses it. Part: of a request of which the server has a part. Unread:
	// of n bytes that lie unread where a request should be; p are the first. Behind: of what follows an answered
	// request, n bytes of it unread.
	part() LossKind
	unread(p []byte, n int) LossKind
	behind(n int) LossKind
}

func (c *conn) protocol() protocol {
	if c.state.Load() == 0 {
		return unmet{http1{c}}
	}
	return c.spoken()
}

// spoken is the protocol for a server that gets c.
func (c *conn) spoken() protocol {
	switch c.speaks.Load() {
	case secured:
		return tlsRecords{http1{c}}
	case insealed:
		return unsealed{tlsRecords{http1{c}}}
	case framed:
		return http2{http1{c}}
	case followed:
		return overheard{http1{c}}
	}
	return http1{c}
}

// http2 awaits no request that could be seen here: h2drain ends it.
type http2 struct{ http1 }

func (c http2) movable() bool        { return false }
func (c http2) rejects([]byte) bool  { return false }
func (c http2) received([]byte, int) {}
func (c http2) behind(int) LossKind  { return "" }

// unmet is a connection that a listener around a socket of this set may hold before its server gets
// it. Such a listener reads a header of the PROXY protocol, shakes hands, sorts connections, or
// waits for room. Nothing is under way as long as the client has said nothing that can be a
// request, and no answer was written. Then it is let go as if the server waited on it. Another server
// behind the same socket, that was not given to Track, has not begun with it either.
type unmet struct{ http1 }

// movable: what was read stays here, and so do keys of TLS, until the server has them; but of a connection that is
// asleep, they are here. Nothing read does not tell that there are none: unseal begins with that.
func (c unmet) movable() bool {
	return !c.input.sinceIdle.Load() && c.http1.movable() && (!c.isTLS() || c.asleep() && !c.set.keepTLS.Load())
}

func (c unmet) atRest(int, bool) bool {
	return c.awaitsRequest() && (c.hasSaid() == sniff.SaidNothing || c.hasSaid() == sniff.SaidHello)
}

func (c unmet) received(p []byte, offered int) {
	if c.sock == nil || !c.sock.tracked.Load() || c.hasSaid() == sniff.SaidMore {
		c.spoken().received(p, offered)
		return
	}
	if c.input.greeting == nil {
		c.input.greeting = new(sniff.Greeting)
	}
	now := c.input.greeting.Feed(p)
	if c.input.greeting.Handshake != nil && c.speaks.Load() == plain {
		c.secure(c.input.greeting.Handshake)
	}
	if c.input.said.Store(int32(now)); now == sniff.SaidMore {
		c.input.greeting = nil
	}
	if c.isTLS() {
		tlsRecords(c).receivedRecord(!c.input.records.Partial(), c.awaitsRequest())
	}
}

func (c unmet) part() LossKind {
	switch c.hasSaid() {
	case sniff.SaidPart:
		return LostPart
	case sniff.SaidJunk:
		return LostJunk
	}
	return ""
}

func (c unmet) unread(p []byte, n int) LossKind {
	if c.input.sinceIdle.Load() || c.speaks.Load() == insealed {
		return c.spoken().unread(p, n)
	}
	return LossKind(sniff.UnmetKind(p, n))
}

// overheard is a connection of HTTP/1 of which a talk knows what the server does.
type overheard struct{ http1 }

func (c overheard) received([]byte, int) {}

func (c overheard) part() LossKind {
	if c.input.sinceIdle.Load() || c.closing.inHead.Load() {
		return LostPart
	}
	return ""
}

// behind counts a request that the server has read and not answered, too.
func (c overheard) behind(n int) LossKind {
	if c.talk.owes() && !c.clientClosed.Load() || sniff.LooksLikeHead(sockopt.Peek(c.Conn, n)) {
		return LostRequest
	}
	return ""
}
