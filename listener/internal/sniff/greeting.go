package sniff

// Said is how much of a request, and of what comes before one, a client has said on a connection
// that no server has got.
type Said int32

// In this order a client says more.
const (
	SaidNothing Said = iota
	SaidPart         // of a header of the PROXY protocol, of a handshake of TLS, of the head of a request of HTTP
	SaidHello        // the whole of one of the former, and nothing behind it
	SaidJunk         // what begins none of these: it may be another protocol's
	SaidMore         // what can be a request
)

// Greeting follows what a client says from its first byte on, until that is more than the beginning
// of a request.
type Greeting struct {
	text      []byte   // all of it; nil when records has the rest
	Handshake *Records // of TLS; nil: there is none yet
}

// maxGreeting is how much of a greeting is looked at. What is longer can be a request.
const maxGreeting = 16 << 10

// Feed is told of the next bytes.
func (g *Greeting) Feed(p []byte) Said {
	if g.Handshake != nil {
		g.Handshake.Feed(p)
		return g.Handshake.said()
	}
	if len(g.text)+len(p) > maxGreeting {
		return SaidMore
	}
	g.text = append(g.text, p...)
	rest, part := BehindProxy(g.text)
	switch {
	case part:
		return SaidPart
	case len(rest) > 0 && rest[0] == HandshakeRecord:
		g.text, g.Handshake = nil, new(Records)
		g.Handshake.Feed(rest)
		return g.Handshake.said()
	}
	switch HeadKind(rest, false) {
	case Part:
		return SaidPart
	case Junk:
		return SaidJunk
	case Request:
		return SaidMore
	}
	return SaidHello
}

// UnmetKind tells what the n bytes are that a client has sent on a connection that no server has
// got, of which p are the first.
func UnmetKind(p []byte, n int) Kind {
	rest, part := BehindProxy(p)
	n -= len(p) - len(rest)
	switch {
	case len(p) == 0:
		return Request
	case part:
		return Part
	case n > 0 && len(rest) > 0 && rest[0] == HandshakeRecord:
		return RecordsKind(rest, n)
	}
	return HeadKind(rest, n > len(rest))
}
