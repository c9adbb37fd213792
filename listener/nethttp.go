package listener

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// standard finds out what this version of net/http does about HTTP/2, by a server that is given
// connections within the process: the function that it keeps in TLSNextProto, by which its own
// HTTP/2 is known from that of others, and whether it speaks HTTP/2, encrypted or not, on any type
// of connection that its listener returns.
var standard = sync.OnceValues(func() (function uintptr, any bool) {
	any = true
	for _, encrypted := range []bool{true, false} {
		ln := &probe{encrypted: encrypted, said: make(chan []byte, 1), closed: make(chan struct{})}
		var ended sync.WaitGroup
		ended.Add(1)
		srv := &http.Server{
			Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols),
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					ended.Done()
				}
			},
		}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		ended.Go(func() { _ = srv.Serve(ln) })
		first := <-ln.said
		settings := len(first) > h2frame.HeaderLen && first[3] == h2frame.TypeSettings
		any = any && settings && first[0] == 0 // "HTTP/1.1 404" is none
		_ = srv.Close()
		_ = ln.Close()
		ended.Wait()
		function = pointer(srv.TLSNextProto["h2"])
	}
	return function, any
})

func pointer(f func(*http.Server, *tls.Conn, http.Handler)) uintptr {
	return reflect.ValueOf(f).Pointer()
}

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
