package listener

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// unencrypted is the key of http.Server.TLSNextProto under which net/http, and golang.org/x/net/http2 where it has
// configured the server, keep a function that serves HTTP/2 on any connection whose preface has been read. They hide the
// connection in a *tls.Conn, whose NetConn has the method of carrier.
const unencrypted = "unencrypted_http2"

type carrier struct {
	net.Conn // nil: none of its methods is called
	nc       net.Conn
}

func (c carrier) UnencryptedNetConn() net.Conn { return c.nc }

func carry(nc net.Conn) *tls.Conn { return tls.Client(carrier{nc: nc}, nil) }

// lead puts a framed between srv and its HTTP/2 connections. It does nothing where that can't be done.
func lead(srv *http.Server) {
	serve := srv.TLSNextProto[unencrypted]
	if serve == nil {
		return
	}
	srv.TLSNextProto[unencrypted] = func(hs *http.Server, tc *tls.Conn, h http.Handler) {
		if u, ok := tc.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
			nc := u.UnencryptedNetConn()
			if c, _ := ours(nc); c != nil {
				tc = carry(frame(nc, c, 0, nil))
			}
		}
		serve(hs, tc, h)
	}
	plain := srv.TLSNextProto["h2"]
	if plain == nil {
		return
	}
	srv.TLSNextProto["h2"] = func(hs *http.Server, tc *tls.Conn, h http.Handler) {
		c, _ := ours(tc)
		if c == nil {
			plain(hs, tc, h)
			return
		}
		if readPreface(tc) {
			serve(hs, carry(framedTLS{frame(tc, c, 0, nil)}), h)
		}
	}
}

// readPreface gives the client as much time as net/http does.
func readPreface(nc net.Conn) bool {
	buf := make([]byte, len(preface))
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.ReadFull(nc, buf)
	return err == nil && string(buf) == preface && nc.SetReadDeadline(time.Time{}) == nil
}

// upgrading is the ResponseWriter for a request that a handler may answer by taking the connection and speaking HTTP/2 on
// it, as golang.org/x/net/http2/h2c does.
type upgrading struct {
	http.ResponseWriter
	c     *conn
	ahead int // bytes of the preface that follow the request
}

// upgrade returns nil for all other requests. The head of HTTP/2's preface is a request by itself; the other way is
// RFC 7540, 3.2.
func upgrade(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	ahead := 0
	switch {
	case r.ProtoMajor == 2 && r.Method == "PRI" && r.RequestURI == "*":
		ahead = len("SM\r\n\r\n")
	case r.ProtoMajor == 1 && len(r.Header["Http2-Settings"]) == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "h2c"):
		ahead = len(preface)
	default:
		return nil
	}
	if c, _ := r.Context().Value(connKey{}).(*conn); c != nil {
		return &upgrading{w, c, ahead}
	}
	return nil
}

// Hijack implements http.Hijacker. An answer to the request, which is none of HTTP/2's, goes around the framed.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	f := frame(nc, u.c, u.ahead, append([]byte(nil), early...))
	return f, bufio.NewReadWriter(bufio.NewReader(f), rw.Writer), nil
}

// Flush implements http.Flusher.
func (u *upgrading) Flush() { _ = http.NewResponseController(u.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (u *upgrading) Unwrap() http.ResponseWriter { return u.ResponseWriter }
