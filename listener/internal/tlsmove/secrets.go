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
	case t.in.partial() || t.out.partial():
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
			n, err := countSealed(t.flight, suite, s.Out.Secret)
			if err != nil {
				return err
			}
			t.out.records += n
			t.flight, t.counted = nil, true
		}
		s.In.Seq, s.Out.Seq = t.in.records, t.out.records
	} else {
		s.In.Secret, s.Out.Secret = suite.keyBlock(secrets[0],
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
