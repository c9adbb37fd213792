package tlsmove

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// tap lies under crypto/tls. It counts the records in both directions. While the handshake lasts it hands out no byte
// beyond the record that is being read: so, when it is over, those of the handshake were read, and none else.
type tap struct {
	net.Conn
	shaking bool // set with mu by the goroutine that reads, between the handshake and what follows it
	tls13   bool // likewise
	movable atomic.Bool
	in      track     // the reader's
	logs    io.Writer // the user's KeyLogWriter

	secrets [2]secret // written in the handshake

	mu       sync.Mutex // guards what follows, and is held while something is written
	out      track
	flight   []byte    // TLS 1.3: the last records that were written in the handshake
	counted  bool      // out.records are those under the last secret
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
		}
		n := min(t.left, len(p))
		t.left -= n
		p = p[n:]
	}
}

// NetConn returns what is below.
func (t *tap) NetConn() net.Conn { return t.Conn }

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	if t.shaking {
		p = p[:min(len(p), t.in.next())]
	}
	n, err := t.Conn.Read(p)
	t.in.feed(p[:n])
	if t.shaking {
		t.randoms[0].feed(p[:n])
	}
	return n, err
}

// Write implements net.Conn.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.exported {
		return 0, net.ErrClosed
	}
	if t.shaking {
		t.noteFlight(p)
	}
	n, err := t.Conn.Write(p)
	t.out.feed(p[:n])
	return n, err
}

// maxFlight is how much is kept of a flight: the last records, where the tickets are.
const maxFlight = 2 << 10

// noteFlight keeps the end of what is written in the handshake. Crypto/tls writes whole records.
func (t *tap) noteFlight(p []byte) {
	t.randoms[1].feed(p)
	for !t.out.partial() && len(p) >= headLen {
		n := sizeOf(p)
		if n > len(p) {
			break
		}
		if p[0] == typeData && n <= maxFlight {
			t.flight = append(t.flight, p[:n]...)
		} else {
			t.flight = t.flight[:0]
		}
		p = p[n:]
	}
	for len(t.flight) > maxFlight {
		t.flight = t.flight[sizeOf(t.flight):]
	}
}

// keyLog is a tap as the KeyLogWriter of its connection.
type keyLog tap

var (
	labelClient = []byte("CLIENT_TRAFFIC_SECRET_0 ")
	labelServer = []byte("SERVER_TRAFFIC_SECRET_0 ")
	labelMaster = []byte("CLIENT_RANDOM ")
)

// Write is told a line: a label, the client's random and a secret, in hex.
func (l *keyLog) Write(line []byte) (int, error) {
	t := (*tap)(l)
	for i, label := range [][]byte{labelClient, labelServer, labelMaster} {
		if rest, ok := bytes.CutPrefix(bytes.TrimRight(line, "\n"), label); ok && len(rest) > 2*randomLen {
			s := &t.secrets[i%len(t.secrets)]
			if text := rest[2*randomLen+1:]; len(text) <= 2*len(s.b) {
				s.n, _ = hex.Decode(s.b[:], text)
			}
		}
	}
	if t.logs != nil {
		return t.logs.Write(line)
	}
	return len(line), nil
}

// resumes is told of a session that may be resumed: the key log says nothing of one of TLS 1.2. Its text begins with
// version, type, suite, time and the master secret.
func (t *tap) resumes(s *tls.SessionState) {
	const at = 2 + 1 + 2 + 8
	text, err := s.Bytes()
	if err != nil || len(text) <= at || binary.BigEndian.Uint16(text) != tls.VersionTLS12 {
		return
	}
	master := &t.secrets[0]
	if n := int(text[at]); n <= len(master.b) && n < len(text)-at {
		master.n = copy(master.b[:n], text[at+1:])
	}
	clear(text)
}

// shaken is told that the handshake is over.
func (t *tap) shaken(cs tls.ConnectionState) {
	suite := suiteOf(cs.Version, cs.CipherSuite)
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := suite != nil && len(cs.PeerCertificates) == 0 && t.secrets[0].n > 0 && !t.out.partial()
	t.shaking, t.tls13 = false, cs.Version == tls.VersionTLS13
	switch {
	case !ok:
	case t.tls13:
		t.flight = behindFinished(t.flight, suite)
		ok = t.secrets[1].n > 0 && len(t.flight) > 0
	default:
		t.flight = nil
		ok = t.randoms[0].take(clientHello) != nil && t.randoms[1].take(serverHello) != nil
	}
	t.in, t.out = track{}, track{}
	t.counted = !t.tls13
	if t.movable.Store(ok); !ok {
		t.wipe()
	}
}

// export adds the secrets and the numbers to s. Nothing is written any more. Read is how many bytes of data were read.
func (t *tap) export(s *State, read uint64) error {
	if !t.mu.TryLock() {
		return errWriting
	}
	defer t.mu.Unlock()
	suite := suiteOf(s.Version, s.Suite)
	added := uint64(explicitLen + tagLen)
	if t.tls13 {
		added = 1 + tagLen
	}
	switch {
	case suite == nil || !t.movable.Load() || t.exported:
		return errForeign
	case t.in.partial() || t.out.partial():
		return errPartial
	case t.in.other || t.out.other || t.in.bytes != read+added*t.in.records:
		return errUnsure // each record but data has something in it, that nobody has read
	}
	if t.tls13 {
		s.In.Secret = append([]byte(nil), t.secrets[0].b[:t.secrets[0].n]...)
		s.Out.Secret = append([]byte(nil), t.secrets[1].b[:t.secrets[1].n]...)
		if len(s.In.Secret) != suite.size || len(s.Out.Secret) != suite.size {
			return errForeign
		}
		if !t.counted {
			n, err := countSealed(t.flight, suite, s.Out.Secret)
			if err != nil {
				return err
			}
			t.out.records += n
			t.flight, t.counted = nil, true
		}
		s.In.Seq, s.Out.Seq = t.in.records, t.out.records
	} else {
		s.In.Secret, s.Out.Secret = suite.keyBlock(t.secrets[0].b[:t.secrets[0].n],
			t.randoms[0].take(clientHello), t.randoms[1].take(serverHello))
		s.In.Seq, s.Out.Seq = t.in.records+1, t.out.records+1 // the handshake's last
	}
	t.exported = true
	return nil
}

// countSealed counts the records at the end of the server's flight that are under its last secret: session tickets.
// They follow its Finished, which is as long as no ticket is.
func countSealed(flight []byte, s *suite, secret []byte) (n uint64, err error) {
	h, err := newHalf(tls.VersionTLS13, s, Half{Secret: secret})
	if err != nil {
		return 0, err
	}
	defer h.wipe()
	for first := true; len(flight) > 0; first = false {
		size := sizeOf(flight)
		record := append([]byte(nil), flight[:size]...)
		flight = flight[size:]
		if first {
			if size != s.finished() {
				return 0, errForeign
			}
			continue
		}
		if _, _, alert := h.open(record); alert != 0 {
			return 0, errForeign
		}
		n++
	}
	return n, nil
}

// finished is how long the record with a Finished of TLS 1.3 is.
func (s *suite) finished() int { return headLen + 4 + s.size + 1 + tagLen }

// sizeOf is how long the record is that begins with p.
func sizeOf(p []byte) int { return headLen + int(binary.BigEndian.Uint16(p[3:])) }

// behindFinished returns the part of a flight that begins with the last record that can be a Finished; nil: none can.
func behindFinished(flight []byte, s *suite) (from []byte) {
	for ; len(flight) > 0; flight = flight[sizeOf(flight):] {
		if sizeOf(flight) == s.finished() {
			from = flight
		}
	}
	return append([]byte(nil), from...)
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
	t.flight = nil
}
