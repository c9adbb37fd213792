package listener

import (
	"encoding/binary"
	"errors"
)

// The Form of a Ticket whose State is not the application's.
const (
	formHTTP2       = "h2c" // unencrypted HTTP/2 at rest: the State is one of h2state
	formTLS         = "tls" // HTTP/1.1 over TLS: the State is tlsmove's, and has secrets
	formSealedHTTP2 = "h2"  // HTTP/2 over TLS at rest: the length of tlsmove's in two bytes, that, and one of h2state
)

func hasSecrets(form string) bool { return form == formTLS || form == formSealedHTTP2 }

const keysLen = 2 // bytes that tell it

// joinState makes the State of formSealedHTTP2, and overwrites keys.
func joinState(keys, http2 []byte) []byte {
	both := make([]byte, 0, keysLen+len(keys)+len(http2)) // which does not grow: no copy is left
	both = binary.BigEndian.AppendUint16(both, uint16(len(keys)))
	both = append(append(both, keys...), http2...)
	clear(keys)
	return both
}

// splitState is the reverse. The parts lie in both.
func splitState(both []byte) (keys, http2 []byte, err error) {
	if len(both) >= keysLen {
		n, rest := int(binary.BigEndian.Uint16(both)), both[keysLen:]
		if n <= len(rest) {
			return rest[:n:n], rest[n:], nil
		}
	}
	return nil, nil, errors.New("listener: not the state of a connection of HTTP/2 over TLS")
}
