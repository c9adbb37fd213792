package tlsmove

import "crypto/tls"

// keptRecord is the last record of a client.
type keptRecord struct {
	text []byte
	got  int // bytes of it, of which a long one keeps the head only
}

const maxKept = 2 << 10

func (k *keptRecord) feed(p []byte) {
	for len(p) > 0 {
		if k.got >= headLen && k.got == sizeOf(k.text) {
			k.text, k.got = k.text[:0], 0
		}
		n := headLen - k.got
		if n <= 0 {
			n = sizeOf(k.text) - k.got
		}
		n = min(n, len(p))
		if k.got < headLen || sizeOf(k.text) <= maxKept {
			k.text = append(k.text, p[:n]...)
		}
		k.got += n
		p = p[n:]
	}
}

// opensAsData tells whether k is a whole record with data, under a secret: so the client has not gone on to another.
func (k *keptRecord) opensAsData(s *suite, secret []byte, seq uint64) bool {
	if k == nil || len(k.text) < headLen || len(k.text) != sizeOf(k.text) {
		return false
	}
	h, err := newHalf(tls.VersionTLS13, s, Half{secret, seq})
	if err != nil {
		return false
	}
	defer h.wipe()
	typ, _, alert := h.open(append([]byte(nil), k.text...))
	return alert == 0 && typ == typeData
}
