// Package h2frame knows where frames of HTTP/2 begin and end in what one side sends.
package h2frame

import "encoding/binary"

// Preface is how a client begins.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// What of HTTP/2's framing (RFC 9113, 4.1 and 6) matters here.
const (
	HeaderLen     = 9
	TypeData      = 0x0
	TypeHeaders   = 0x1
	TypeReset     = 0x3
	TypeSettings  = 0x4
	TypePush      = 0x5
	TypePing      = 0x6
	TypeGoAway    = 0x7
	TypeWindow    = 0x8
	TypeContinued = 0x9
	FlagAck       = 0x1
	FlagEndStream = 0x1
	FlagEndBlock  = 0x4
	FlagPadded    = 0x8
	FlagPriority  = 0x20
	MaxStream     = 1<<31 - 1
)

// mark begins the data of our PINGs; their number follows.
const mark = "baton"

// Scanner follows one direction of an HTTP/2 connection, to know where another frame may be put in.
// The zero value is where the first frame is about to begin.
type Scanner struct {
	Preface  int  // bytes that are still to come before the first frame
	NotHTTP2 bool // what came there was something else; nothing is known of the rest
	header   [HeaderLen]byte
	got      int // bytes of the header
	left     int // bytes of the payload, once the header is there
	data     [8]byte

	whole    int64  // frames that have passed
	Settings bool   // the first of them was SETTINGS
	open     bool   // in a header block, which no other frame may interrupt
	Last     uint32 // the highest stream that HEADERS were sent on
	GoneAway bool   // a GOAWAY has passed

	Awaited uint32 // the number of the PING of ours whose acknowledgement counts; 0 for none
	Back    bool   // it has passed

	Watch Watch  // nil: nobody
	kept  []byte // what has passed of a payload that Watch wants
}

// Watch is told of the frames that pass a Scanner.
type Watch interface {
	Wants(kind byte) bool // the payloads of such frames, up to MaxKept
	Passed(Frame)
}

// Frame is one that has passed. Its payload is there if it was wanted, and until Passed returns.
type Frame struct {
	Kind, Flags byte
	Stream      uint32
	Length      int
	Payload     []byte
}

// MaxKept is the longest payload that a Watch gets: the longest frame that anybody may send to a
// peer of which nothing is known.
const MaxKept = 1 << 14

// Resumed is a Scanner for a side whose beginning has passed elsewhere.
func Resumed(last uint32) Scanner { return Scanner{whole: 1, Settings: true, Last: last} }

// Scan is told of the bytes that have passed.
func (f *Scanner) Scan(p []byte) {
	for len(p) > 0 {
		n := min(f.Room(), len(p))
		switch {
		case f.NotHTTP2:
			return
		case f.Preface > 0:
			at := len(Preface) - f.Preface
			f.NotHTTP2 = string(p[:n]) != Preface[at:at+n]
			f.Preface -= n
		case f.got < HeaderLen:
			copy(f.header[f.got:], p[:n])
			if f.got += n; f.got == HeaderLen {
				if f.left = f.length(); f.left == 0 {
					f.end()
				}
			}
		default:
			if f.ack() {
				copy(f.data[len(f.data)-f.left:], p[:n])
			}
			f.keep(p[:n])
			if f.left -= n; f.left == 0 {
				f.end()
			}
		}
		p = p[n:]
	}
}

// Room is how many bytes are missing until the preface, the header or the payload is complete.
func (f *Scanner) Room() int {
	switch {
	case f.Preface > 0:
		return f.Preface
	case f.got < HeaderLen:
		return HeaderLen - f.got
	}
	return f.left
}

// Between tells whether another frame may be put in now.
func (f *Scanner) Between() bool { return f.Preface == 0 && f.got == 0 && !f.open }

// Begins tells whether the next byte is the first of a frame.
func (f *Scanner) Begins() bool { return f.Preface == 0 && f.got == 0 }

// Place changes whenever a frame has passed; Inside tells whether one has begun, or a header block,
// or the beginning of all.
func (f *Scanner) Place() int64 {
	if f.Between() && f.Settings {
		return f.whole << 1
	}
	return f.whole<<1 | 1
}

// Unbegun is the place of a peer whose first frame has not passed.
const Unbegun = 1

// Inside tells whether a frame has begun at that place.
func Inside(place int64) bool { return place&1 != 0 }

// ack tells whether the frame that passes acknowledges a PING.
func (f *Scanner) ack() bool {
	return f.header[3] == TypePing && f.header[4]&FlagAck != 0 && f.header[0] == 0 && f.header[1] == 0 &&
		f.header[2] == 8
}

// length is that of the frame that passes.
func (f *Scanner) length() int {
	return int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
}

// keep is told of a part of a payload.
func (f *Scanner) keep(p []byte) {
	if f.Watch != nil && f.length() <= MaxKept && f.Watch.Wants(f.header[3]) {
		f.kept = append(f.kept, p...)
	}
}

func (f *Scanner) end() {
	f.got = 0
	if f.Watch != nil {
		stream := binary.BigEndian.Uint32(f.header[5:]) & MaxStream
		f.Watch.Passed(Frame{f.header[3], f.header[4], stream, f.length(), f.kept})
		f.kept = f.kept[:0]
	}
	f.whole++
	if f.whole == 1 {
		f.Settings = f.header[3] == TypeSettings && f.header[4]&FlagAck == 0
	}
	switch f.header[3] {
	case TypeHeaders:
		f.Last = max(f.Last, binary.BigEndian.Uint32(f.header[5:])&MaxStream)
		fallthrough
	case TypePush, TypeContinued:
		f.open = f.header[4]&FlagEndBlock == 0
	case TypeGoAway:
		f.GoneAway = true
	case TypePing:
		n := uint32(f.data[5])<<16 | uint32(f.data[6])<<8 | uint32(f.data[7])
		if f.ack() && f.Awaited != 0 && n == f.Awaited && string(f.data[:len(mark)]) == mark {
			f.Awaited, f.Back = 0, true
		}
	}
}

// Append appends a frame.
func Append(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// GoAway is a GOAWAY with NO_ERROR after which streams up to last are served.
func GoAway(last uint32) []byte {
	frame := binary.BigEndian.AppendUint32([]byte{0, 0, 8, TypeGoAway, 0, 0, 0, 0, 0}, last)
	return append(frame, 0, 0, 0, 0)
}

// Ping is our n-th PING.
func Ping(n uint32) []byte {
	return Append(nil, TypePing, 0, 0, append([]byte(mark), byte(n>>16), byte(n>>8), byte(n)))
}
