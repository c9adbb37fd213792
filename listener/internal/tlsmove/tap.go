package tlsmove

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// tap lies under crypto/tls. It counts the records in both directions. While the handshake lasts it hands out no byte
// beyond the record that is being read: so, when it is over, those of the handshake were read, and none else. It keeps
// what has come with them, since a system call for each head of a record would be dear.
type tap struct {
	net.Conn
	shaking bool // set with mu by the goroutine that reads, between the handshake and what follows it
	tls13   bool // likewise
	movable atomic.Bool
	in      track       // the reader's
	ahead   []byte      // what was read and not handed out; the reader's
	room    *[]byte     // of aheads, where ahead lies; nil: there is none. The reader's
	data    *int64      // bytes of data that were read above crypto/tls; the reader's
	kept    *keptRecord // the last that was read; nil: it is not needed. The reader's
	logs    io.Writer   // the user's KeyLogWriter

	secrets [2]secret // written in the handshake

	mu       sync.Mutex // guards what follows, and is held while something is written
	out      track
	last     []byte    // TLS 1.3: the last record that was written in the handshake; nil: a long one, or a plain one
	counted  bool      // out.records are those under the last secret
	sealed   [2]uint64 // of in and out, in the handshake
	randoms  [2]random // of TLS 1.2: the client's and the server's
	exported bool
}

const randomLen = 32

// random takes a hello's random from the first bytes that one side sends: head of the record, type, length, version,
// random.
type random struct {
	b [headLen + 4 + 2 + randomLen]byte
	n int
}

// Types of handshake messages.
const (
	clientHello = 1
	serverHello = 2
)

func (r *random) feed(p []byte) { r.n += copy(r.b[r.n:], p) }

// take returns nil where the first record was not a hello of that type, with the whole random in it.
func (r *random) take(typ byte) []byte {
	if r.n < len(r.b) || r.b[0] != typeHandshake || r.b[headLen] != typ || sizeOf(r.b[:]) < len(r.b) {
		return nil
	}
	return r.b[len(r.b)-randomLen:]
}

// secret is one that the key log has told: the traffic secrets of the client and the server, or the master secret.
type secret struct {
	n int
	b [48]byte
}

// track follows the records of one direction.
type track struct {
	head    [headLen]byte
	have    int
	left    int
	records uint64
	bytes   uint64 // in records, behind their heads
	other   bool   // one that is no data was seen
	changed bool   // a change of ciphers was seen
	sealed  uint64 // records since the last; without one, those of the type of data. In TLS 1.3 an upper bound
}

// next is how many bytes are missing in the head, or in the record.
func (t *track) next() int {
	if t.left > 0 {
		return t.left
	}
	return headLen - t.have
}

func (t *track) partial() bool { return t.have > 0 || t.left > 0 }

func (t *track) feed(p []byte) {
	for len(p) > 0 {
		if t.left == 0 {
			n := copy(t.head[t.have:], p)
			t.have += n
			p = p[n:]
			if t.have < headLen {
				return
			}
			t.have, t.left = 0, int(binary.BigEndian.Uint16(t.head[3:]))
			t.records++
			t.bytes += uint64(t.left)
			t.other = t.other || t.head[0] != typeData
			switch {
			case t.head[0] == typeCipherChange:
				t.changed, t.sealed = true, 0
			case t.changed || t.head[0] == typeData:
				t.sealed++
			}
		}
		n := min(t.left, len(p))
		t.left -= n
		p = p[n:]
	}
}

// NetConn returns what is below.
func (t *tap) NetConn() net.Conn { return t.Conn }

// SyscallConn implements syscall.Conn, for the hooks of a tls.Config, which get a tap.
func (t *tap) SyscallConn() (syscall.RawConn, error) { return sockopt.RawConn(t.Conn) }

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	switch {
	case t.shaking:
		p = p[:min(len(p), t.in.next())]
	case t.tls13 && t.in.records > 0 && !t.in.partial():
		switch even := t.even(); {
		case even:
			t.kept = nil
		case t.kept == nil:
			t.kept = new(keptRecord)
		}
	}
	n, err := t.read(p)
	t.in.feed(p[:n])
	if t.shaking {
		t.randoms[0].feed(p[:n])
	} else if t.kept != nil {
		t.kept.feed(p[:n])
	}
	return n, err
}

// aheads are buffers for what comes in a handshake.
var aheads = sync.Pool{New: func() any { b := make([]byte, 3<<10); return &b }}

// read reads into p, during the handshake by way of ahead.
func (t *tap) read(p []byte) (int, error) {
	if len(t.ahead) == 0 {
		if !t.shaking {
			return t.Conn.Read(p)
		}
		if t.room == nil {
			t.room = aheads.Get().(*[]byte)
		}
		n, err := t.Conn.Read(*t.room)
		if n == 0 {
			return 0, err
		}
		t.ahead = (*t.room)[:n]
	}
	n := copy(p, t.ahead)
	t.ahead = t.ahead[n:]
	t.freeRoom()
	return n, nil
}

// partial tells whether something has come that crypto/tls has not got, or a part of a record that it has.
func (t *tap) partial() bool { return t.in.partial() || len(t.ahead) > 0 }

// freeRoom gives the buffer back once the handshake is over and nothing is left in it.
func (t *tap) freeRoom() {
	if !t.shaking && len(t.ahead) == 0 && t.room != nil {
		aheads.Put(t.room)
		t.room, t.ahead = nil, nil
	}
}

// even tells whether what came in the records is the data that were read, and nothing else. Once it is not, the client
// pads its records, or has sent something else, such as a key update.
func (t *tap) even() bool {
	added := uint64(explicitLen + tagLen)
	if t.tls13 {
		added = 1 + tagLen
	}
	return !t.in.other && t.in.bytes == uint64(*t.data)+added*t.in.records
}

// Write implements net.Conn.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exported {
		return 0, net.ErrClosed
	}
	if t.shaking {
		t.noteRecords(p)
	}
	n, err := t.Conn.Write(p)
	t.out.feed(p[:n])
	return n, err
}

// maxLast is how long a record is kept: a ticket, mostly.
const maxLast = 2 << 10

// noteRecords keeps the last of what is written in the handshake. Crypto/tls writes whole records.
func (t *tap) noteRecords(p []byte) {
	t.randoms[1].feed(p)
	for !t.out.partial() && len(p) >= headLen {
		n := min(sizeOf(p), len(p))
		whole := n == sizeOf(p)
		t.last = t.last[:0]
		if p[0] == typeData && whole && n <= maxLast {
			t.last = append(t.last, p[:n]...)
		}
		p = p[n:]
	}
}

// shaken is told that the handshake is over.
func (t *tap) shaken(cs tls.ConnectionState) {
	suite := suiteOf(cs.Version, cs.CipherSuite)
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := suite != nil && len(cs.PeerCertificates) == 0 && t.secrets[0].n > 0 && !t.out.partial()
	t.shaking, t.tls13 = false, cs.Version == tls.VersionTLS13
	t.freeRoom()
	switch {
	case !ok:
	case t.tls13:
		ok = t.secrets[1].n > 0 && len(t.last) > 0
	default:
		t.last = nil
		ok = t.randoms[0].take(clientHello) != nil && t.randoms[1].take(serverHello) != nil
	}
	t.sealed = [2]uint64{t.in.sealed, t.out.sealed}
	t.in, t.out = track{}, track{}
	t.counted = !t.tls13
	if ok && t.tls13 {
		t.kept = new(keptRecord)
	}
	if t.movable.Store(ok); !ok {
		t.wipe()
	}
}

func (t *tap) keep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exported = false
}

func (t *tap) abandon() {
	t.movable.Store(false)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wipe()
}

// wipe overwrites the secrets. The caller holds mu.
func (t *tap) wipe() {
	t.secrets = [2]secret{}
	t.last = nil
}
