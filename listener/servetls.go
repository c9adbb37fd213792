package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// TLSListener returns what srv is to accept from by Set.Serve, to serve ln over TLS by config. Where ln is what
// Listen has returned, connections can be moved: with TLS 1.2 or 1.3, and AES-GCM. Leave then offers them to its
// handover as those in plain text, of HTTP/1.1 and HTTP/2. Adopt of a set that serves their listener over TLS takes
// them, unless its config does not permit their version, suite or protocol. Config may go on to change its session
// tickets' keys.
//
// Others are closed after a grace: those with another suite, such as ChaCha20; those whose client has updated its keys;
// those of a config with a ClientAuth, a GetConfigForClient or a VerifyConnection. In FIPS 140 mode and after KeepTLS,
// all are.
//
// For a connection that was moved, srv's hooks get a *tls.Conn that has not shaken hands, and can't. Handlers see the
// whole tls.ConnectionState in their requests; its ExportKeyingMaterial returns an error. Up to Go 1.26, srv gets a
// connection when the handshake is over; srv's timeouts and srv.BaseContext's values hold in the handshake. Up to Go
// 1.26, too, srv.Close and Shutdown send a GOAWAY on connections of HTTP/2 that were moved, and do not wait for them.
func (s *Set) TLSListener(srv *http.Server, ln net.Listener, config *tls.Config) net.Listener {
	so, ok := ln.(*socket)
	if !ok || so.set != s || !tlsmove.Able() || s.keepTLS.Load() || config.GetConfigForClient != nil ||
		config.ClientAuth != tls.NoClientCert || config.VerifyConnection != nil {
		return tls.NewListener(ln, config)
	}
	l := &securedListener{
		fronts: fronts{Listener: ln, set: s}, srv: srv, config: tlsmove.Config(config),
		next: make(chan net.Conn), spare: make(chan struct{}, spareShakers),
		ready: make(chan net.Conn), failed: make(chan error), base: context.Background(),
	}
	l.life, l.end = context.WithCancel(context.Background())
	so.secured.Store(&secureServer{srv, config})
	return l
}

// MovesTLS tells whether connections over TLS can be moved in this process: not in FIPS 140 mode.
func MovesTLS() bool { return tlsmove.Able() }

// KeepTLS makes connections over TLS stay: none is offered any more, and a TLSListener that follows takes none.
func (s *Set) KeepTLS() { s.keepTLS.Store(true) }

// KeepHTTP2OverTLS makes those of HTTP/2 over TLS stay: none is offered any more.
func (s *Set) KeepHTTP2OverTLS() { s.keepHTTP2.Store(true) }

// securedListener is what a server over TLS accepts from.
type securedListener struct {
	fronts      // secure: the server shakes hands itself, and speaks HTTP/2 on what it gets
	http2  bool // the server speaks HTTP/2, and there is an h2drain.Conn between; set before the first Accept
	srv    *http.Server
	config *tls.Config     // of tlsmove
	base   context.Context // the server's; set before the first Accept

	once   sync.Once
	next   chan net.Conn // to a goroutine that has shaken hands before
	spare  chan struct{} // has a value for each that waits for next
	ready  chan net.Conn
	failed chan error
	life   context.Context // ends when the server accepts no more, and ends handshakes
	end    context.CancelFunc
}

func (l *securedListener) served(closed bool) {
	l.end()
	if closed && !l.secure && l.set.leaving.Load() == nil {
		l.leaveHTTP2()
	}
}

// Accept implements net.Listener. A server of Go 1.26 or earlier needs a *tls.Conn for HTTP/2, and another type for
// what can be moved. So only the handshake tells which type it gets.
func (l *securedListener) Accept() (net.Conn, error) {
	if l.secure {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		return l.wrap(nc), nil
	}
	l.once.Do(func() { go l.acceptAll() })
	for {
		select {
		case nc := <-l.ready:
			if f, ok := nc.(*sealed); ok && f.own.resumed != nil {
				l.serveHTTP2(f)
				continue
			}
			return nc, nil
		case err := <-l.failed:
			return nil, err
		case <-l.life.Done():
			return nil, net.ErrClosed
		}
	}
}

// acceptAll shakes hands with all that comes. The listener below does not end before the server has what came before.
func (l *securedListener) acceptAll() {
	const least, most = 5 * time.Millisecond, time.Second // as in net/http
	var pause time.Duration
	for {
		nc, err := l.Listener.Accept()
		if err == nil {
			pause = 0
			if c, _ := unwrap(nc); c.adopted.keyed {
				l.shake(nc) // which takes no handshake: the server has it before an error
			} else {
				select {
				case l.next <- nc:
				default:
					go l.shakeOn(nc)
				}
			}
			continue
		}
		failed, later := l.failed, (<-chan time.Time)(nil)
		var again interface{ Temporary() bool }
		if errors.As(err, &again) && again.Temporary() { // a server would not take what is ready while it waits
			pause = min(max(2*pause, least), most)
			l.logf("http: Accept error: %v; retrying in %v", err, pause)
			failed, later = nil, time.After(pause)
		}
		select {
		case failed <- err:
		case <-later:
		case <-l.life.Done():
			return
		}
	}
}

// spareShakers is how many goroutines wait for another handshake. A handshake takes a large stack, and a new goroutine
// comes to it by copies.
const spareShakers = 8

func (l *securedListener) shakeOn(nc net.Conn) {
	for {
		l.shake(nc)
		select {
		case l.spare <- struct{}{}:
		default:
			return
		}
		select {
		case nc = <-l.next:
			<-l.spare
		case <-l.life.Done():
			return
		}
	}
}

// wrap is nil where a connection that was taken can't go on.
func (l *securedListener) wrap(nc net.Conn) net.Conn {
	c, _ := unwrap(nc)
	if !c.adopted.keyed {
		return newSealed(tlsmove.Server(nc, l.config), c)
	}
	taken := c.adopted.keys.Swap(nil)
	if taken == nil { // it is closed
		return nc
	}
	seal, err := tlsmove.Adopt(nc, taken)
	if err != nil {
		_ = nc.Close()
		return nc
	}
	f := newSealed(seal, c)
	if c.resumed == nil {
		c.unseal()
	}
	return f
}

// shake does for a new connection what net/http does, and gives it to the server.
func (l *securedListener) shake(nc net.Conn) {
	defer l.outlive(nc) // a panic of a function in the tls.Config
	nc = l.wrap(nc)
	f, ok := nc.(*sealed)
	if !ok {
	} else if first, isNew := f.seal.first(); isNew {
		ctx := context.WithValue(l.base, http.ServerContextKey, l.srv)
		ctx, stop := context.WithCancel(context.WithValue(ctx, http.LocalAddrContextKey, nc.LocalAddr()))
		defer stop()
		defer context.AfterFunc(l.life, stop)()
		timeout := l.timeout()
		if timeout > 0 {
			_ = nc.SetDeadline(time.Now().Add(timeout))
		}
		if err := first.HandshakeContext(ctx); err != nil {
			l.refuse(nc, err)
			return
		}
		if timeout > 0 {
			_ = nc.SetDeadline(time.Time{})
		}
		switch first.ConnectionState().NegotiatedProtocol {
		case "", "http/1.1", "http/1.0":
			f.shaken()
		case "h2":
			nc = first.Conn
			if !l.http2 {
				first.Abandon()
			}
		default:
			nc = first.Conn
			first.Abandon()
		}
	}
	select {
	case l.ready <- nc:
	case <-l.life.Done():
		_ = nc.Close()
	}
}

// outlive does at a panic what net/http does.
func (l *securedListener) outlive(nc net.Conn) {
	if r := recover(); r != nil {
		text := make([]byte, 64<<10)
		l.logf("http: panic serving %v: %v\n%s", nc.RemoteAddr(), r, text[:runtime.Stack(text, false)])
		_ = nc.Close()
	}
}

// refuse says what net/http says of a handshake that has failed. A client that was moved before it said a word is none,
// nor is one that the server has left.
func (l *securedListener) refuse(nc net.Conn, err error) {
	if c, _ := unwrap(nc); l.life.Err() != nil || c != nil && c.move.done.Load() {
		_ = nc.Close()
		return
	}
	why := err.Error()
	var head tls.RecordHeaderError
	if errors.As(err, &head) && head.Conn != nil && looksLikeHTTP(head.RecordHeader) {
		why = "client sent an HTTP request to an HTTPS server"
		_, _ = io.WriteString(head.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nC"+why[1:]+".\n")
	}
	l.logf("http: TLS handshake error from %s: %v", nc.RemoteAddr(), why)
	_ = nc.Close()
}

func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// timeout is the least of the server's that are set; 0: none is.
func (l *securedListener) timeout() (least time.Duration) {
	for _, d := range []time.Duration{l.srv.ReadHeaderTimeout, l.srv.ReadTimeout, l.srv.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

func (l *securedListener) logf(format string, args ...any) {
	if l.srv.ErrorLog != nil {
		l.srv.ErrorLog.Printf(format, args...)
	} else {
		log.Printf(format, args...)
	}
}
