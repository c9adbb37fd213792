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

func (s *secureServer) serves(srv *http.Server) bool { return s != nil && s.srv == srv }

var errNotSecured = errors.New("listener: connections over TLS are not taken here")

// open opens the state of a connection that is to go on here, in HTTP/1 or HTTP/2. The error tells why the server would
// not have it.
func (s *secureServer) open(state []byte, http2 bool) (*tlsmove.State, error) {
	if s == nil {
		return nil, errNotSecured
	}
	opened, err := tlsmove.ParseState(state)
	if err != nil {
		return nil, err
	}
	switch err = opened.Permits(s.config); {
	case err != nil:
	case http2 != (opened.ALPN == "h2"):
		err = errors.New("listener: the client and the server of before have agreed on another protocol")
	case !http2 && s.srv.Protocols != nil && !s.srv.Protocols.HTTP1():
		err = errors.New("listener: the server does not speak HTTP/1")
	}
	if err != nil {
		opened.Wipe()
	}
	return opened, err
}
