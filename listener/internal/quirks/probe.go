package quirks

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// probe is a listener and its only connection, whose client says that it speaks HTTP/2.
type probe struct {
	encrypted bool
	accepted  bool
	sent      int         // bytes of the preface
	said      chan []byte // what the server writes first; "" where it closes before
	closed    chan struct{}
	close     sync.Once
}

type probeTLS struct{ *probe }

func (p probeTLS) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, NegotiatedProtocol: "h2",
		CipherSuite: tls.TLS_AES_128_GCM_SHA256}
}

func (p *probe) Accept() (net.Conn, error) {
	switch {
	case p.accepted:
		<-p.closed
		return nil, net.ErrClosed
	case p.encrypted:
		p.accepted = true
		return probeTLS{p}, nil
	}
	p.accepted = true
	return p, nil
}

func (p *probe) Read(b []byte) (n int, err error) {
	if n = copy(b, h2frame.Preface[p.sent:]); n == 0 {
		<-p.closed
		return 0, io.EOF
	}
	p.sent += n
	return n, nil
}

func (p *probe) Write(b []byte) (int, error) {
	p.tell(append([]byte(nil), b...))
	return len(b), nil
}

func (p *probe) tell(b []byte) {
	select {
	case p.said <- b:
	default:
	}
}

func (p *probe) Close() error {
	p.tell(nil)
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *probe) Addr() net.Addr                   { return &net.TCPAddr{} }
func (p *probe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *probe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *probe) SetDeadline(time.Time) error      { return nil }
func (p *probe) SetReadDeadline(time.Time) error  { return nil }
func (p *probe) SetWriteDeadline(time.Time) error { return nil }
