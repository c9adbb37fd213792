package tlsmove

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"
)

// suite is what differs between the suites of AES-GCM.
type suite struct {
	hash   func() hash.Hash
	size   int // of the hash, and so of a traffic secret of TLS 1.3, in bytes
	keyLen int
}

var aes128, aes256 = suite{sha256.New, sha256.Size, 16}, suite{sha512.New384, sha512.Size384, 32}

// suiteOf returns nil where a connection of that kind can't be moved.
func suiteOf(version, id uint16) *suite {
	switch version {
	case tls.VersionTLS13:
		switch id {
		case tls.TLS_AES_128_GCM_SHA256:
			return &aes128
		case tls.TLS_AES_256_GCM_SHA384:
			return &aes256
		}
	case tls.VersionTLS12:
		switch id {
		case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256:
			return &aes128
		case tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_RSA_WITH_AES_256_GCM_SHA384:
			return &aes256
		}
	}
	return nil
}

const (
	nonceLen    = 12
	saltLen     = 4  // of TLS 1.2: the part of a nonce that comes from the handshake
	explicitLen = 8  // of TLS 1.2: the part that a record carries
	tagLen      = 16 // of GCM
)

// expandLabel is HKDF-Expand-Label of RFC 8446, 7.1, without a context.
func (s *suite) expandLabel(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := make([]byte, 0, 4+len(label))
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len(label)))
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(s.hash, secret, string(info), n)
}

// keyBlock is the key material of TLS 1.2, of a master secret (RFC 5246, 6.3): the client's key, the server's, and
// their salts.
func (s *suite) keyBlock(master, clientRandom, serverRandom []byte) (in, out []byte) {
	seed := append(append([]byte("key expansion"), serverRandom...), clientRandom...)
	mac := hmac.New(s.hash, master)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	n := 2 * (s.keyLen + saltLen)
	var block []byte
	for a := sum(seed); len(block) < n; a = sum(a) {
		block = append(block, sum(a, seed)...)
	}
	keys, salts := block[:2*s.keyLen], block[2*s.keyLen:n]
	in = append(append(in, keys[:s.keyLen]...), salts[:saltLen]...)
	out = append(append(out, keys[s.keyLen:]...), salts[saltLen:]...)
	clear(block)
	return in, out
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
