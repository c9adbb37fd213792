package listener

import (
	"crypto/tls"
	"net"

	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// seal is the TLS of a connection that can be moved. HTTP/2 lies on it.
type seal struct {
	tlsmove.Secured
	user *tls.Conn // as which hooks of the user's see it
}

func (s *seal) inner() net.Conn { return s.user }

// first tells whether this process does the handshake.
func (s *seal) first() (*tlsmove.First, bool) {
	first, ok := s.Secured.(*tlsmove.First)
	return first, ok
}
