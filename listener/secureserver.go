package listener

import (
	"crypto/tls"
	"errors"
	"net/http"

	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// secureServer is a server over TLS that takes connections from another process.
type secureServer struct {
	srv    *http.Server
	config *tls.Config
}

var errNotSecured = errors.New("listener: connections over TLS are not taken here")

// open opens the state of a connection that is to go on here. The error tells why the server would not have it.
func (s *secureServer) open(state []byte) (*tlsmove.State, error) {
	if s == nil {
		return nil, errNotSecured
	}
	opened, err := tlsmove.ParseState(state)
	if err != nil {
		return nil, err
	}
	if err = opened.Permits(s.config); err == nil && s.srv.Protocols != nil && !s.srv.Protocols.HTTP1() {
		err = errors.New("listener: the server does not speak HTTP/1")
	}
	if err != nil {
		opened.Wipe()
	}
	return opened, err
}
