package listener

import "encoding/binary"

// What of HTTP/2's framing (RFC 9113, 4.1 and 6) matters here.
const (
	headerLen     = 9
	typeHeaders   = 0x1
	typeSettings  = 0x4
	typePush      = 0x5
	typePing      = 0x6
	typeGoAway    = 0x7
	typeContinued = 0x9
	flagAck       = 0x1
	flagEndBlock  = 0x4
	maxStream     = 1<<31 - 1

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// mark begins the data of our PINGs; their number follows.
const mark = "baton"

// frames follows one direction of an HTTP/2 connection, to know where another frame may be put in.
// The zero value is where the first frame is about to begin.
type frames struct {
	preface int  // bytes that are still to come before the first frame
	alien   bool // what came there was something else; nothing is known of the rest
	header  [headerLen]byte
	got     int // bytes of the header
	left    int // bytes of the payload, once the header is there
	data    [8]byte

	whole    int64  // frames that have passed
	settings bool   // the first of them was SETTINGS
	open     bool   // in a header block, which no other frame may interrupt
	last     uint32 // the highest stream that HEADERS were sent on
	goaway   bool   // a GOAWAY has passed

	awaited uint32 // the number of the PING of ours whose acknowledgement counts; 0 for none
	back    bool   // it has passed
}

// pass is told of the bytes that have passed.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		n := min(f.room(), len(p))
		switch {
		case f.alien:
			return
		case f.preface > 0:
			at := len(preface) - f.preface
			f.alien = string(p[:n]) != preface[at:at+n]
			f.preface -= n
		case f.got < headerLen:
			copy(f.header[f.got:], p[:n])
			if f.got += n; f.got == headerLen {
				f.left = int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
				if f.left == 0 {
					f.end()
				}
			}
		default:
			if f.ack() {
				copy(f.data[len(f.data)-f.left:], p[:n])
			}
			if f.left -= n; f.left == 0 {
				f.end()
			}
		}
		p = p[n:]
	}
}

// room is how many bytes are missing until the preface, the header or the payload is complete.
func (f *frames) room() int {
	switch {
	case f.preface > 0:
		return f.preface
	case f.got < headerLen:
		return headerLen - f.got
	}
	return f.left
}

// between tells whether another frame may be put in now.
func (f *frames) between() bool { return f.preface == 0 && f.got == 0 && !f.open }

// place changes whenever a frame has passed; inside tells whether one has begun, or a header block,
// or the beginning of all.
func (f *frames) place() int64 {
	if f.between() && f.settings {
		return f.whole << 1
	}
	return f.whole<<1 | 1
}

// unbegun is the place of a peer whose first frame has not passed.
const unbegun = 1

func inside(place int64) bool { return place&1 != 0 }

// ack tells whether the frame that passes acknowledges a PING.
func (f *frames) ack() bool {
	return f.header[3] == typePing && f.header[4]&flagAck != 0 && f.header[0] == 0 && f.header[1] == 0 &&
		f.header[2] == 8
}

func (f *frames) end() {
	f.got = 0
	f.whole++
	if f.whole == 1 {
		f.settings = f.header[3] == typeSettings && f.header[4]&flagAck == 0
	}
	switch f.header[3] {
	case typeHeaders:
		f.last = max(f.last, binary.BigEndian.Uint32(f.header[5:])&maxStream)
		fallthrough
	case typePush, typeContinued:
		f.open = f.header[4]&flagEndBlock == 0
	case typeGoAway:
		f.goaway = true
	case typePing:
		n := uint32(f.data[5])<<16 | uint32(f.data[6])<<8 | uint32(f.data[7])
		if f.ack() && f.awaited != 0 && n == f.awaited && string(f.data[:len(mark)]) == mark {
			f.awaited, f.back = 0, true
		}
	}
}

// goAway is a GOAWAY with NO_ERROR after which streams up to last are served.
func goAway(last uint32) []byte {
	frame := binary.BigEndian.AppendUint32([]byte{0, 0, 8, typeGoAway, 0, 0, 0, 0, 0}, last)
	return append(frame, 0, 0, 0, 0)
}

// ping is our n-th PING.
func ping(n uint32) []byte {
	return append([]byte{0, 0, 8, typePing, 0, 0, 0, 0, 0}, mark[0], mark[1], mark[2], mark[3], mark[4],
		byte(n>>16), byte(n>>8), byte(n))
}
