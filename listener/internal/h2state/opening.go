package h2state

import (
	"encoding/binary"
	"maps"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// Opening is how a server that has just got a connection comes to where another one has stopped,
// and sends the client nothing. The server reads Begin behind a client's preface, and Go when
// Begun. What it writes is for Hear until Done.
//
// Begin has a header block that no request can have: the server's decoder comes to have the table
// that the client fills, and the server resets the stream. Then a request on the client's last
// stream, by which the server knows which streams were there. Its answer must have Spends bytes,
// which the server takes off what it may send. Settings of the client that would be in its way, and
// a table for answers of which the client doesn't know, are for Go to say.
type Opening struct {
	State
	heard  h2frame.Scanner
	server Half // what this server has said

	ping     string // of which the acknowledgement is awaited
	ponged   bool
	answered bool
	goes     bool // Go was called
	failed   bool
}

// NewOpening is for a server that is to go on from s.
func NewOpening(s State) *Opening {
	o := &Opening{State: s, ping: "resume 1", answered: s.Last == 0}
	o.heard.Watch = o
	return o
}

// Begin is what the server reads first.
func (o *Opening) Begin() (b []byte) {
	first := maps.Clone(o.Client)
	first[TableSize], first[WindowSize] = 0, DefaultWindow
	b = h2frame.Append(b, h2frame.TypeSettings, 0, 0, first.Payload())
	if more := o.Send - DefaultWindow; more > 0 {
		b = h2frame.Append(b, h2frame.TypeWindow, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(more)))
	}
	if o.Last > 0 {
		const whole = h2frame.FlagEndBlock | h2frame.FlagEndStream
		// A name that HTTP/2 begins with, behind one of another kind, is malformed (RFC 9113, 8.3). The
		// server forgets that stream when it has written the reset: it must not be the next one.
		malformed := append([]byte{indexed | 16, indexed | 2}, o.Table...)
		b = h2frame.Append(b, h2frame.TypeHeaders, whole, o.Last+2, malformed)
		b = h2frame.Append(b, h2frame.TypeHeaders, whole, o.Last,
			[]byte{indexed | 2, indexed | 4, indexed | 6, 1, 5, 'b', 'a', 't', 'o', 'n'}) // GET http://baton/
	}
	return h2frame.Append(b, h2frame.TypePing, 0, 0, []byte(o.ping))
}

// Spends is how many bytes the answer has.
func (o *Opening) Spends() int { return max(0, DefaultWindow-o.Send) }

// Go is what the server reads when it has Begun.
func (o *Opening) Go() (b []byte) {
	o.ping, o.ponged, o.goes = "resume 2", false, true
	rest := Settings{TableSize: o.Client.Of(TableSize), WindowSize: o.Client.Of(WindowSize)}
	b = h2frame.Append(b, h2frame.TypeSettings, 0, 0, rest.Payload())
	if len(o.Changed()) == 0 {
		b = h2frame.Append(b, h2frame.TypeSettings, h2frame.FlagAck, 0, nil)
	}
	return h2frame.Append(b, h2frame.TypePing, 0, 0, []byte(o.ping))
}

// Hear is told of what the server writes, and returns what is for the client.
func (o *Opening) Hear(p []byte) (rest []byte) {
	for len(p) > 0 && !o.Done() && !o.failed {
		n := min(o.heard.Room(), len(p))
		o.heard.Scan(p[:n])
		p = p[n:]
	}
	return p
}

// Begun tells whether the server has done what Begin is for.
func (o *Opening) Begun() bool { return o.ponged && o.answered }

// Done tells whether all is done.
func (o *Opening) Done() bool { return o.goes && o.ponged }

// Failed tells whether the server leaves instead.
func (o *Opening) Failed() bool { return o.failed }

// Wants implements h2frame.Watch.
func (o *Opening) Wants(kind byte) bool { return kind == h2frame.TypePing || o.server.Wants(kind) }

// Passed implements h2frame.Watch.
func (o *Opening) Passed(f h2frame.Frame) {
	o.server.Passed(f)
	switch f.Kind {
	case h2frame.TypeData, h2frame.TypeHeaders:
		o.answered = o.answered || f.Stream == o.Last && f.Flags&h2frame.FlagEndStream != 0
	case h2frame.TypePing:
		o.ponged = o.ponged || f.Flags&h2frame.FlagAck != 0 && string(f.Payload) == o.ping
	case h2frame.TypeGoAway:
		o.failed = true
	}
}

// Changed is what this server's settings have that the client doesn't know.
func (o *Opening) Changed() Settings {
	changed := Settings{}
	for id := range defaults {
		if now := o.server.settings.Of(id); now != o.Server.Of(id) {
			changed[id] = now
		}
	}
	if now := o.server.settings[ExtendedConnect]; now > o.Server[ExtendedConnect] {
		changed[ExtendedConnect] = now
	}
	return changed
}

// Words is what the client is to be told, none of it where the server is like the one before.
func (o *Opening) Words() (b []byte) {
	if changed := o.Changed(); len(changed) > 0 {
		b = h2frame.Append(b, h2frame.TypeSettings, 0, 0, changed.Payload())
	}
	if more := o.window() - o.Receive; more > 0 {
		b = h2frame.Append(b, h2frame.TypeWindow, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(more)))
	}
	return b
}

func (o *Opening) window() int { return DefaultWindow + o.server.granted }

// Tighter tells whether the client may do what this server does not permit, until it has heard.
func (o *Opening) Tighter() bool { return o.exceeds(o.server.settings, o.window()) }
