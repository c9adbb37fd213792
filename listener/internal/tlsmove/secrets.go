package tlsmove

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
)

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
	clear(line) // crypto/tls has made it for this call
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

// export adds the secrets and the numbers to s. Nothing is written any more.
func (t *tap) export(s *State) error {
	if !t.mu.TryLock() {
		return errWriting
	}
	defer t.mu.Unlock()
	suite := suiteOf(s.Version, s.Suite)
	secrets := [2][]byte{t.secrets[0].b[:t.secrets[0].n], t.secrets[1].b[:t.secrets[1].n]}
	switch {
	case suite == nil || !t.movable.Load() || t.exported:
		return errForeign
	case t.partial() || t.out.partial():
		return errPartial
	case t.in.other || t.out.other:
		return errUnsure
	case !t.even() && !(t.tls13 && t.kept.opensAsData(suite, secrets[0], t.in.records-1)):
		return errUnsure
	}
	if t.tls13 {
		s.In.Secret, s.Out.Secret = append([]byte(nil), secrets[0]...), append([]byte(nil), secrets[1]...)
		if len(s.In.Secret) != suite.size || len(s.Out.Secret) != suite.size {
			return errForeign
		}
		if !t.counted {
			n, err := countSealed(t.last, t.sealed[1], suite, s.Out.Secret)
			if err != nil {
				return err
			}
			t.out.records += n
			t.last, t.counted = nil, true
		}
		s.In.Seq, s.Out.Seq = t.in.records, t.out.records
	} else {
		s.In.Secret, s.Out.Secret = suite.keyBlock(secrets[0],
			t.randoms[0].take(clientHello), t.randoms[1].take(serverHello))
		s.In.Seq, s.Out.Seq = t.in.records+t.sealed[0], t.out.records+t.sealed[1]
	}
	t.exported = true
	return nil
}

// maxSealed is how many records of a handshake may be sealed: each is tried by countSealed.
const maxSealed = 100

// countSealed counts the records of a handshake that are under its last secret: session tickets. The last record of the
// handshake opens under its own number only, or it is the Finished, and opens under none. So it does not matter how
// long a ticket is, which is the user's to choose.
func countSealed(last []byte, sealed uint64, s *suite, secret []byte) (uint64, error) {
	if sealed > maxSealed {
		return 0, errForeign
	}
	h, err := newHalf(tls.VersionTLS13, s, Half{Secret: secret})
	if err != nil {
		return 0, err
	}
	defer h.wipe()
	record := make([]byte, len(last))
	for seq := range sealed {
		h.Seq = seq
		copy(record, last) // a failure overwrites it
		if _, _, alert := h.open(record); alert == 0 {
			return seq + 1, nil
		}
	}
	return 0, nil
}

// sizeOf is how long the record is that begins with p.
func sizeOf(p []byte) int { return headLen + int(binary.BigEndian.Uint16(p[3:])) }
