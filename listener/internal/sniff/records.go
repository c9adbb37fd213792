package sniff

import "encoding/binary"

// Records follows the TLS records in what a client sends: type, version and length in five bytes
// (RFC 8446, 5.1), then as many bytes as that. Under crypto/tls it is the only thing that can be
// known of a request that has begun to arrive.
type Records struct {
	head [5]byte
	have int  // bytes of head
	left int  // bytes of the record after the head
	apps int  // records that say they are application data
	last bool // the next handshake record is the last of TLS 1.2
	old  bool // it has come, or has begun
}

// Types of records. In TLS 1.3 the last of a handshake, and what is said about the connection
// later, such as a KeyUpdate, are application data, too.
const (
	cipherChange    = 20
	AlertRecord     = 21
	HandshakeRecord = 22
	ApplicationData = 23
)

// Feed is told of the next bytes. One goroutine at a time calls it.
func (r *Records) Feed(p []byte) {
	for len(p) > 0 {
		if r.left == 0 {
			n := copy(r.head[r.have:], p)
			r.have += n
			p = p[n:]
			if r.have < len(r.head) {
				return
			}
			r.have, r.left = 0, int(binary.BigEndian.Uint16(r.head[3:]))
			r.begin(r.head[0])
		}
		n := min(r.left, len(p))
		r.left -= n
		p = p[n:]
	}
}

func (r *Records) begin(kind byte) {
	switch kind {
	case cipherChange:
		r.last = true
	case HandshakeRecord:
		r.old = r.last
	case ApplicationData:
		r.apps++
	}
}

// Partial tells whether a part of a record has come, and the rest has not.
func (r *Records) Partial() bool { return r.have > 0 || r.left > 0 }

// MaxAlert is the length of a record with an alert, which a client sends when it closes a connection. It includes the
// most that a cipher adds in TLS 1.2 or 1.3; CBC pads, and may add more. No request is as short.
const MaxAlert = 5 + 8 + 2 + 16

// RecordsKind is HeadKind for records of TLS, of which n bytes have come, and p are the first: it
// can't be seen what is in them. One as short as an alert is no request.
func RecordsKind(p []byte, n int) Kind {
	for kind := Kind(""); ; {
		if len(p) < 5 {
			if len(p) > 0 && kind == "" {
				return Part
			}
			return kind
		}
		if p[0] < 20 || p[0] > 24 || p[1] != 3 {
			return Junk
		}
		length := 5 + int(p[3])<<8 + int(p[4])
		switch {
		case p[0] == ApplicationData && length > MaxAlert && length <= n:
			return Request
		case length > len(p):
			return Part
		case p[0] == HandshakeRecord:
			kind = Part
		}
		p, n = p[length:], n-length
	}
}

// said tells what records that begin with a handshake are. No request of the client's comes before
// the last record of its handshake, which in TLS 1.3 is the first that says it is application data.
func (r *Records) said() Said {
	switch ready := r.finished(); {
	case r.apps > 1 || r.apps == 1 && r.old:
		return SaidMore
	case ready && !r.Partial():
		return SaidHello
	}
	return SaidPart
}

// finished tells whether the client's part of a handshake has come, or the last record of it has
// begun.
func (r *Records) finished() bool { return r.old || r.apps > 0 }
