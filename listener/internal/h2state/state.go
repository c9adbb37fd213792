// Package h2state is what a server must know of an HTTP/2 connection on which no stream is open, to
// go on where another server has stopped.
package h2state

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// State is a connection between two requests, as it goes to another process.
type State struct {
	Last     uint32   // the highest stream of the client's
	Client   Settings // what the client has said, and the server has acknowledged
	Server   Settings // the other way round
	Send     int      // bytes of DATA that the server may send on the connection
	Receive  int      // and the client
	TableMax int      // how large the client may have made the table of its header blocks
	Table    []byte   // see Table.Text
}

// Settings are the values of SETTINGS, by their identifiers.
type Settings map[uint16]uint32

// Identifiers of settings (RFC 9113, 6.5.2; RFC 8441; RFC 9218).
const (
	TableSize         = 1
	MaxStreams        = 3
	WindowSize        = 4
	MaxFrame          = 5
	MaxHeaders        = 6
	ExtendedConnect   = 8
	NoOldPriorities   = 9
	settingLen        = 6
	maxSettings       = 64
	DefaultWindow     = 1<<16 - 1
	defaultMaxFrame   = 1 << 14
	defaultMaxStreams = 1<<32 - 1
)

var defaults = Settings{TableSize: defaultSize, MaxStreams: defaultMaxStreams, WindowSize: DefaultWindow,
	MaxFrame: defaultMaxFrame, MaxHeaders: 1<<32 - 1}

// Of is a setting that may not have been said.
func (s Settings) Of(id uint16) uint32 {
	if v, ok := s[id]; ok {
		return v
	}
	return defaults[id]
}

func (s Settings) read(payload []byte) Settings {
	if s == nil {
		s = Settings{}
	}
	for ; len(payload) >= settingLen; payload = payload[settingLen:] {
		s[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	return s
}

// Payload is that of a SETTINGS frame.
func (s Settings) Payload() (p []byte) {
	for _, id := range slices.Sorted(maps.Keys(s)) {
		p = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(p, id), s[id])
	}
	return p
}

// Half follows what one side sends, as an h2frame.Watch. Only one goroutine may use it at a time.
type Half struct {
	Client bool // the client's; its header blocks are followed

	settings Settings
	said     int // SETTINGS
	acked    int // SETTINGS of the other side's
	data     int // bytes of DATA, modulo the size of an int
	granted  int // by WINDOW_UPDATE, for the connection
	ended    bool
	table    Table
	block    []byte
}

// NewHalf is a Half from the beginning of a connection.
func NewHalf(client bool) *Half { return &Half{Client: client, table: newTable(defaultSize, nil)} }

// Wants implements h2frame.Watch.
func (h *Half) Wants(kind byte) bool {
	switch kind {
	case h2frame.TypeSettings, h2frame.TypeWindow:
		return true
	case h2frame.TypeHeaders, h2frame.TypeContinued:
		return h.Client && !h.table.lost
	}
	return false
}

// Passed implements h2frame.Watch.
func (h *Half) Passed(f h2frame.Frame) {
	switch f.Kind {
	case h2frame.TypeData:
		h.data += f.Length
	case h2frame.TypeSettings:
		switch {
		case f.Flags&h2frame.FlagAck != 0:
			h.acked++
		case len(f.Payload) < f.Length || len(h.settings)+f.Length/settingLen > maxSettings:
			h.ended = true
		default:
			h.said++
			h.settings = h.settings.read(f.Payload)
		}
	case h2frame.TypeWindow:
		if f.Stream == 0 && len(f.Payload) == 4 {
			h.granted += int(binary.BigEndian.Uint32(f.Payload) & h2frame.MaxStream)
		}
	case h2frame.TypePush, h2frame.TypeGoAway: // numbers of streams that nobody else knows; the end
		h.ended = true
	case h2frame.TypeHeaders, h2frame.TypeContinued:
		if h.Client {
			h.headers(f)
		}
	}
}

// headers puts a header block together.
func (h *Half) headers(f h2frame.Frame) {
	p := f.Payload
	if len(p) < f.Length || len(h.block) > h2frame.MaxKept {
		h.table, h.block = Table{lost: true}, nil
		return
	}
	if f.Kind == h2frame.TypeHeaders {
		pad := 0
		if f.Flags&h2frame.FlagPadded != 0 && len(p) > 0 {
			pad, p = int(p[0]), p[1:]
		}
		if f.Flags&h2frame.FlagPriority != 0 {
			p = p[min(5, len(p)):]
		}
		p = p[:max(0, len(p)-pad)]
		if h.block = h.block[:0]; f.Flags&h2frame.FlagEndBlock != 0 {
			h.table.Feed(p)
			return
		}
	}
	if h.block = append(h.block, p...); f.Flags&h2frame.FlagEndBlock != 0 {
		h.table.Feed(h.block)
	}
}

// window is what the peer of h may send.
func (h *Half) window(peer *Half) int { return DefaultWindow + h.granted - peer.data }

// maxTable leaves room for the rest of a frame, maxLast for another stream.
const (
	maxTable = h2frame.MaxKept - 16
	maxLast  = h2frame.MaxStream - 1
)

// Never tells whether At can't report true any more.
func Never(client, server *Half, last uint32) bool {
	return client.table.lost || client.ended || server.ended || last >= maxLast
}

// At returns the state of a connection that rests. Both sides have come to an end of a frame, and no
// stream is open; the server has processed all that the client has sent up to stream last. At reports
// false where the state can't be told, or is not settled.
func At(client, server *Half, last uint32) (State, bool) {
	text, known := client.table.Text()
	s := State{Last: last, Client: client.settings, Server: server.settings, Send: client.window(server),
		Receive: server.window(client), TableMax: client.table.max, Table: text}
	settled := client.said > 0 && server.said > 0 && client.acked == server.said
	known = known && len(text) <= maxTable && !Never(client, server, last)
	windows := s.Send >= 0 && s.Receive >= 0 && (s.Send >= DefaultWindow || last > 0)
	return s, settled && windows && known
}

// Halves are those of a connection that goes on from s.
func (s State) Halves() (client, server *Half) {
	return &Half{Client: true, settings: maps.Clone(s.Client), said: 1, acked: 1, granted: s.Send - DefaultWindow,
			table: newTable(s.TableMax, s.Table)},
		&Half{settings: maps.Clone(s.Server), said: 1, acked: 1, granted: s.Receive - DefaultWindow}
}

// Fits tells whether a server with those settings, and that window for the connection, can go on from
// s, and permits all that the client may do. The table comes in one header block (see Opening), of
// which a server takes twice its MaxHeaders; strings may become longer when they are decoded.
func (s State) Fits(now Settings, window int) bool {
	return !s.exceeds(now, window) && 2*len(s.Table) <= int(now.Of(MaxHeaders))
}

// exceeds tells whether the client may do what such a server does not permit.
func (s State) exceeds(now Settings, window int) bool {
	for id := range defaults {
		if now.Of(id) < s.Server.Of(id) {
			return true
		}
	}
	return window < s.Receive
}

// version is that of what Append writes: the first byte. Another one is not understood.
const version = 1

var errState = errors.New("h2state: a state that this version does not understand")

// Append writes s behind b.
func (s State) Append(b []byte) []byte {
	b = append(b, version)
	for _, n := range []int{int(s.Last), s.Send, s.Receive, s.TableMax} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, part := range [][]byte{s.Client.Payload(), s.Server.Payload(), s.Table} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	return b
}

// Parse reads what Append has written.
func Parse(b []byte) (s State, err error) {
	if len(b) == 0 || b[0] != version {
		return s, errState
	}
	b = b[1:]
	number := func(most uint64) int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > most {
			b, err = nil, errState
			return 0
		}
		b = b[n:]
		return int(v)
	}
	part := func() (p []byte) {
		n := number(uint64(len(b)))
		if n > len(b) {
			err = errState
			return nil
		}
		p, b = b[:n], b[n:]
		return p
	}
	s.Last = uint32(number(maxLast - 1))
	s.Send, s.Receive, s.TableMax = number(h2frame.MaxStream), number(h2frame.MaxStream), number(maxSize)
	s.Client, s.Server, s.Table = s.Client.read(part()), s.Server.read(part()), part()
	switch {
	case err != nil:
	case len(b) > 0, s.Last%2 == 0 && s.Last != 0, len(s.Table) > maxTable, s.Last == 0 && s.Send < DefaultWindow,
		len(s.Client) > maxSettings, len(s.Server) > maxSettings:
		err = errState
	}
	return s, err
}
