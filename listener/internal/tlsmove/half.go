package tlsmove

import (
	"crypto/cipher"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Types of records.
const (
	typeCipherChange = 20
	typeAlert        = 21
	typeHandshake    = 22
	typeData         = 23
)

const (
	headLen      = 5
	maxPlaintext = 16384
	maxSealed13  = maxPlaintext + 256
	maxSealed12  = maxPlaintext + 2048
	maxRecord    = headLen + maxSealed12
	overhead     = headLen + explicitLen + 1 + tagLen // the most that sealing adds
)

// Half is one direction of a connection: what is needed to go on with it.
type Half struct {
	Secret []byte // TLS 1.3: the traffic secret; TLS 1.2: the key and its salt
	Seq    uint64 // of the next record
}

// half is a Half that seals or opens.
type half struct {
	Half
	suite *suite
	tls13 bool
	aead  cipher.AEAD
	iv    [nonceLen]byte
	nonce [nonceLen]byte // here, so that it is not allocated for each record
	extra [13]byte       // likewise
}

func newHalf(version uint16, s *suite, h Half) (*half, error) {
	made := &half{Half: Half{append([]byte(nil), h.Secret...), h.Seq}, suite: s, tls13: version == tls.VersionTLS13}
	return made, made.rekey()
}

// secretLen is how long a Half's Secret is.
func (s *suite) secretLen(version uint16) int {
	if version == tls.VersionTLS13 {
		return s.size
	}
	return s.keyLen + saltLen
}

// rekey makes the cipher of the secret.
func (h *half) rekey() (err error) {
	key := h.Secret
	if h.tls13 {
		iv, err := h.suite.expandLabel(h.Secret, "iv", nonceLen)
		if err != nil {
			return err
		}
		copy(h.iv[:], iv)
		if key, err = h.suite.expandLabel(h.Secret, "key", h.suite.keyLen); err != nil {
			return err
		}
		defer clear(key)
	} else {
		copy(h.iv[:saltLen], key[h.suite.keyLen:])
		key = key[:h.suite.keyLen]
	}
	h.aead, err = newGCM(key)
	return err
}

// update goes on to the next secret (RFC 8446, 7.2).
func (h *half) update() error {
	next, err := h.suite.expandLabel(h.Secret, "traffic upd", h.suite.size)
	if err != nil {
		return err
	}
	clear(h.Secret)
	h.Secret, h.Seq = next, 0
	return h.rekey()
}

// wipe overwrites what can be reached.
func (h *half) wipe() {
	clear(h.Secret)
	clear(h.iv[:])
	clear(h.nonce[:])
	h.aead = nil
}

var errSpent = errors.New("tlsmove: a connection has no more numbers for records")

// begin makes the nonce of the next record, and of TLS 1.2 what its plaintext's length and type are protected by.
func (h *half) begin(typ byte, n int, explicit []byte) error {
	if h.aead == nil {
		return errOver
	}
	if h.Seq == math.MaxUint64 {
		return errSpent
	}
	copy(h.nonce[:], h.iv[:])
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], h.Seq)
	if h.tls13 {
		for i, b := range seq {
			h.nonce[nonceLen-len(seq)+i] ^= b
		}
		return nil
	}
	copy(h.nonce[saltLen:], explicit)
	copy(h.extra[:], seq[:])
	h.extra[8], h.extra[9], h.extra[10] = typ, 3, 3
	binary.BigEndian.PutUint16(h.extra[11:], uint16(n))
	return nil
}

// open decrypts a whole record in its place, and returns its type and what is in it. An alert other than 0 says what is
// wrong with it.
func (h *half) open(record []byte) (typ byte, p []byte, alert tls.AlertError) {
	typ, body := record[0], record[headLen:]
	if !h.tls13 {
		n := len(body) - explicitLen - tagLen
		if n < 0 || h.begin(typ, n, body[:explicitLen]) != nil {
			return 0, nil, alertBadMAC
		}
		body = body[explicitLen:]
		p, err := h.aead.Open(body[:0], h.nonce[:], body, h.extra[:])
		if err != nil {
			return 0, nil, alertBadMAC
		}
		h.Seq++
		return typ, p, 0
	}
	if typ == typeCipherChange { // to be ignored without being decrypted
		return typ, body, 0
	}
	if typ != typeData {
		return 0, nil, alertUnexpected
	}
	if len(body) < tagLen || h.begin(typ, 0, nil) != nil {
		return 0, nil, alertBadMAC
	}
	copy(h.extra[:], record[:headLen])
	p, err := h.aead.Open(body[:0], h.nonce[:], body, h.extra[:headLen])
	if err != nil {
		return 0, nil, alertBadMAC
	}
	h.Seq++
	if len(p) > maxPlaintext+1 {
		return 0, nil, alertOverflow
	}
	for len(p) > 0 && p[len(p)-1] == 0 { // padding
		p = p[:len(p)-1]
	}
	if len(p) == 0 {
		return 0, nil, alertUnexpected
	}
	return p[len(p)-1], p[:len(p)-1], 0
}

// seal appends a record with p to buf. A half that can't has an error for it.
func (h *half) seal(buf []byte, typ byte, p []byte) ([]byte, error) {
	buf = slices.Grow(buf, len(p)+overhead)
	at := len(buf)
	if h.tls13 {
		if err := h.begin(typ, 0, nil); err != nil {
			return buf, err
		}
		buf = append(buf, typeData, 3, 3, 0, 0)
		binary.BigEndian.PutUint16(buf[at+3:], uint16(len(p)+1+tagLen))
		buf = append(append(buf, p...), typ)
		h.Seq++
		copy(h.extra[:], buf[at:at+headLen])
		h.aead.Seal(buf[at+headLen:at+headLen], h.nonce[:], buf[at+headLen:], h.extra[:headLen])
		return buf[:len(buf)+tagLen], nil
	}
	buf = append(buf, typ, 3, 3, 0, 0)
	binary.BigEndian.PutUint16(buf[at+3:], uint16(len(p)+explicitLen+tagLen))
	buf = binary.BigEndian.AppendUint64(buf, h.Seq)
	if err := h.begin(typ, len(p), buf[at+headLen:]); err != nil {
		return buf[:at], err
	}
	h.Seq++
	return h.aead.Seal(buf, h.nonce[:], p, h.extra[:]), nil
}
