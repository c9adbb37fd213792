package sniff

import (
	"bytes"
	"encoding/binary"
)

// BehindProxy returns what follows a header of the PROXY protocol, in version 1 or 2. Where p has no
// such header, it returns all of p. Part is whether p may be the beginning of one.
func BehindProxy(p []byte) (rest []byte, part bool) {
	const (
		most  = 107 // bytes of version 1
		fixed = 16  // bytes of version 2, of which the last two say how many follow
	)
	switch {
	case Begins(p, proxy1):
		if i := bytes.IndexByte(p[:min(len(p), most)], '\n'); i >= 0 {
			return p[i+1:], false
		}
		return p, len(p) < most
	case !Begins(p, proxy2):
		return p, false
	case len(p) < fixed:
		return p, true
	}
	if n := fixed + int(binary.BigEndian.Uint16(p[fixed-2:])); len(p) >= n {
		return p[n:], false
	}
	return p, true
}

// MayBeProxy tells whether p is less than the first bytes by which a header of the PROXY protocol
// is known.
func MayBeProxy(p []byte) bool {
	return len(p) < len(proxy1) && Begins(p, proxy1) || len(p) < len(proxy2) && Begins(p, proxy2)
}

// By these begin the two versions of the PROXY protocol.
const proxy1, proxy2 = "PROXY ", "\r\n\r\n\x00\r\nQUIT\n"
