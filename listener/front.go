package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Serve is srv.Serve(ln) for a server that was given to Track. It returns what srv.Serve returns, which is never nil:
// http.ErrServerClosed after srv.Close or srv.Shutdown, and one that is net.ErrClosed after Leave or Close.
//
// With Serve, HTTP/2 connections end without losing a request with every version of net/http. From Go 1.27 on, net/http
// speaks HTTP/2 on what its listener returns, and leaves no other way to stand in front of it. So where a connection is
// encrypted, or srv.Protocols has unencrypted HTTP/2, a handler that hijacks it gets a type of its own, whose NetConn
// returns what ln has returned. Hooks see what ln has returned.
func (s *Set) Serve(srv *http.Server, ln net.Listener) (err error) {
	if own, ok := ln.(served); ok {
		defer func() { own.served(errors.Is(err, http.ErrServerClosed)) }()
		return srv.Serve(ln)
	}
	return srv.Serve(&fronts{Listener: ln, set: s})
}

// served is a listener that returns fronts by itself, and is told when its server is done with it, or closed.
type served interface{ served(closed bool) }

// fronts returns a front for each connection on which the server may speak HTTP/2.
type fronts struct {
	net.Listener
	set           *Set
	secure, plain bool // which they are; set before the first Accept
}

// Accept implements net.Listener.
func (l *fronts) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	_, secure := nc.(encrypted)
	if secure && !l.secure || !secure && !l.plain {
		return nc, nil
	}
	c := l.set.find(nc)
	if c == nil || c.foreign {
		return nc, nil
	}
	f := &front{Conn: nc, own: c, missing: h2frame.Preface}
	switch _, sends := nc.(io.ReaderFrom); {
	case secure:
		f.missing = ""
		return frontTLS{f}, nil
	case sends:
		return frontTCP{f}, nil
	}
	return f, nil
}

// front is what a server gets instead of what the listener has returned. It does nothing until
// HTTP/2 begins. From then on all goes through an h2drain.Conn.
type front struct {
	net.Conn
	own     *conn // of this package, under Conn
	h2      atomic.Pointer[h2drain.Conn]
	missing string // of HTTP/2's preface, if that is what comes; "" when it is something else. The reader's
}

// NetConn returns what the listener has returned.
func (f *front) NetConn() net.Conn { return f.Conn }

func (f *front) inner() net.Conn { return f.Conn }

func (f *front) now() net.Conn {
	if h := f.h2.Load(); h != nil {
		return h
	}
	return f.Conn
}

// Read implements net.Conn. A server that knows HTTP/2 speaks it where a connection begins with the
// preface.
func (f *front) Read(p []byte) (int, error) {
	n, err := f.now().Read(p)
	if n > 0 && f.missing != "" {
		k := min(n, len(f.missing))
		switch {
		case string(p[:k]) != f.missing[:k]:
			f.missing = ""
		default:
			if f.missing = f.missing[k:]; f.missing == "" {
				f.h2.Store(newH2Conn(f.Conn, f.own, 0, nil, p[k:n]))
			}
		}
	}
	return n, err
}

func (f *front) Write(p []byte) (int, error) { return f.now().Write(p) }
func (f *front) Close() error                { return f.now().Close() }

func (f *front) SetDeadline(t time.Time) error      { return f.now().SetDeadline(t) }
func (f *front) SetReadDeadline(t time.Time) error  { return f.now().SetReadDeadline(t) }
func (f *front) SetWriteDeadline(t time.Time) error { return f.now().SetWriteDeadline(t) }

// CloseWrite and SyscallConn serve the same purpose as conn's.
func (f *front) CloseWrite() error                     { return closeWrite(f.Conn) }
func (f *front) SyscallConn() (syscall.RawConn, error) { return sockopt.RawConn(f.Conn) }

// frontTCP is a front that can send files, see tcpConn.
type frontTCP struct{ *front }

// ReadFrom implements io.ReaderFrom.
func (f frontTCP) ReadFrom(r io.Reader) (int64, error) {
	if h := f.h2.Load(); h != nil {
		return io.Copy(struct{ io.Writer }{h}, r)
	}
	return f.Conn.(io.ReaderFrom).ReadFrom(r)
}

// frontTLS has the methods by which servers see that a connection is encrypted.
type frontTLS struct{ *front }

func (f frontTLS) ConnectionState() tls.ConnectionState { return f.Conn.(encrypted).ConnectionState() }

// HandshakeContext is where a server learns whether it speaks HTTP/2.
func (f frontTLS) HandshakeContext(ctx context.Context) error {
	if h, ok := f.Conn.(interface{ HandshakeContext(context.Context) error }); ok {
		if err := h.HandshakeContext(ctx); err != nil {
			return err
		}
	}
	if f.h2.Load() == nil && f.ConnectionState().NegotiatedProtocol == "h2" {
		f.h2.Store(newH2Conn(f.Conn, f.own, len(h2frame.Preface), nil, nil))
	}
	return nil
}

// configureFronts says on which connections srv may speak HTTP/2. Of is the listener as the user has it. Http2 tells
// whether srv speaks HTTP/2 on it through an h2drain.Conn: unencrypted, or over the TLS of a TLSListener.
func (s *Set) configureFronts(srv *http.Server, ln net.Listener, lead bool) (of net.Listener, http2 bool) {
	plain := srv.Protocols != nil && srv.Protocols.UnencryptedHTTP2()
	led := lead || srv.TLSNextProto[quirks.UnencryptedHTTP2] != nil
	if own, ok := ln.(*securedListener); ok {
		own.secure = lead
		own.http2 = led && srv.TLSNextProto["h2"] != nil && (srv.Protocols == nil || srv.Protocols.HTTP2()) &&
			slices.Contains(own.config.NextProtos, "h2")
		return own.Listener, own.http2
	}
	l, ok := ln.(*fronts)
	if !ok {
		if lead && plain {
			s.cfg.OnWarning(errNoFront)
		}
		return ln, plain && !lead && led
	}
	l.secure, l.plain = lead, lead && plain
	return l.Listener, plain && led
}
