package quirks

import (
	"crypto/tls"
	"io"
	"net"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// single is a listener with one connection.
type single chan net.Conn

func (l single) Accept() (net.Conn, error) {
	if nc, ok := <-l; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

func (l single) Close() error   { return nil }
func (l single) Addr() net.Addr { return &net.TCPAddr{} }

// negotiated says that its client speaks HTTP/2 under TLS.
type negotiated struct{ net.Conn }

func (negotiated) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, NegotiatedProtocol: "h2",
		CipherSuite: tls.TLS_AES_128_GCM_SHA256}
}

// greetHTTP2 sends HTTP/2's preface and returns the first bytes of the answer; none where the
// server closes.
func greetHTTP2(nc net.Conn) []byte {
	go func() { _, _ = io.WriteString(nc, h2frame.Preface) }()
	first := make([]byte, h2frame.HeaderLen+1)
	n, _ := io.ReadFull(nc, first)
	return first[:n]
}
