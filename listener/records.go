package listener

import "encoding/binary"

// records follows the TLS records in what a client sends: type, version and length in five bytes (RFC 8446, 5.1), then
// as many bytes as that. Under crypto/tls it is the only thing that can be known of a request that has begun to arrive.
type records struct {
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
	alertRecord     = 21
	handshakeRecord = 22
	applicationData = 23
)

func (r *records) feed(p []byte) {
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

func (r *records) begin(kind byte) {
	switch kind {
	case cipherChange:
		r.last = true
	case handshakeRecord:
		r.old = r.last
	case applicationData:
		r.apps++
	}
}

// partial tells whether a part of a record has come, and the rest has not.
func (r *records) partial() bool { return r.have > 0 || r.left > 0 }

// maxAlert is the length of a record with an alert, as sent by clients that close a connection: with the longest that a
// cipher adds in TLS 1.2 or 1.3 but for CBC, which pads. No request is as short.
const maxAlert = 5 + 8 + 2 + 16
