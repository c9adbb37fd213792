package listener

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/quirks"
)

// interceptHTTP2 puts an h2drain.Conn between srv and its HTTP/2 connections. It reports true where
// that can't be done, but srv speaks HTTP/2 on whatever it accepts, as from Go 1.27 on. Then srv
// must accept fronts.
func interceptHTTP2(srv *http.Server) (fronts bool, err error) {
	serve, plain := srv.TLSNextProto[quirks.UnencryptedHTTP2], srv.TLSNextProto["h2"]
	if serve == nil {
		if plain == nil { // it speaks no HTTP/2
			return false, nil
		}
		own, all := quirks.HTTP2()
		if own != quirks.Pointer(plain) {
			return false, errNotIntercepted("its TLSNextProto serves HTTP/2 by another package: use " +
				"golang.org/x/net v0.31.0 or later, or none")
		}
		if !all {
			return false, errNotIntercepted("this version of net/http offers no way: use an older version of Go, or " +
				"a newer one of this library")
		}
		return all, nil
	}
	// Net/http closes what it has accepted when these functions return. So they wait for a
	// lingering close.
	srv.TLSNextProto[quirks.UnencryptedHTTP2] = func(hs *http.Server, tc *tls.Conn, h http.Handler) {
		if nc := quirks.Carried(tc); nc != nil {
			if c, _ := unwrap(nc); c != nil {
				f := newH2Conn(nc, c, 0, nil, nil)
				defer f.Wait()
				tc = carry(f)
			}
		}
		serve(hs, tc, h)
	}
	if plain == nil {
		return false, nil
	}
	srv.TLSNextProto["h2"] = func(hs *http.Server, tc *tls.Conn, h http.Handler) {
		c, _ := unwrap(tc)
		if c == nil {
			plain(hs, tc, h)
			return
		}
		nc := net.Conn(tc)
		if c.seal != nil {
			defer c.seal.Close() // which forgets the keys
			nc = c.seal
		}
		if readPreface(nc) {
			f := newH2Conn(nc, c, 0, nil, nil)
			defer f.Wait()
			serve(hs, carry(f), h)
		}
	}
	return false, nil
}

func (s *Set) interceptHTTP2(srv *http.Server) (fronts bool) {
	fronts, err := interceptHTTP2(srv)
	if err != nil {
		s.cfg.OnWarning(err)
	}
	return fronts
}

// errNoFront is for a server that accepts its connections without a front.
var errNoFront = errNotIntercepted("it is to serve by Set.Serve (with package drain: by Service.Serve or ServeTLS)")

// errNotIntercepted is for a server whose HTTP/2 connections can't be intercepted.
func errNotIntercepted(why string) error {
	return errors.New("listener: HTTP/2 connections of an http.Server end with net/http's GOAWAY, which " +
		"loses requests: " + why)
}

// readPreface gives the client as much time as net/http does.
func readPreface(nc net.Conn) bool {
	buf := make([]byte, len(h2frame.Preface))
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := io.ReadFull(nc, buf)
	return err == nil && string(buf) == h2frame.Preface && nc.SetReadDeadline(time.Time{}) == nil
}

// newH2Conn puts an h2drain.Conn over nc, see h2drain.New. That is what ends c from now on.
func newH2Conn(nc net.Conn, c *conn, ahead int, early, seen []byte) *h2drain.Conn {
	_, wrapped := unwrap(nc)
	_, secure := nc.(encrypted)
	if s, ok := nc.(*seal); ok {
		wrapped, secure = false, !s.Movable()
	}
	moves := !wrapped && !secure
	c.http2.moves.Store(moves)
	f := h2drain.New(nc, (*below)(c), moves, ahead, early, seen)
	if r := c.resumed; r != nil {
		if from := r.from.Swap(nil); from != nil {
			f.Resume(from.state, resumeGrace)
			c.http2.begun.Store(true)
			c.requests.countsStreams.Store(true)
			c.requests.count.Store(min(1, int32(from.state.Last)))
		}
	}
	c.speaks.Store(framed)
	c.http2.by.Store(f)
	if d := c.set.leaving.Load(); d != nil {
		if d.canMoveHTTP2(c) {
			f.Move()
		}
		d.spreadGoAway([]*conn{c}, (*h2drain.Conn).Leave)
	}
	return f
}

// below is a conn as h2drain sees it.
type below conn

func (b *below) CloseWrite() error { return (*conn)(b).CloseWrite() }
func (b *below) IsClosed() bool    { return (*conn)(b).isClosed() }
func (b *below) Cut()              { _ = (*conn)(b).close(false) }
func (b *below) Socket() net.Conn  { return b.Conn }
func (b *below) Due() bool         { return b.age.over() && (*conn)(b).tellAge() }

func (b *below) Offer(state []byte) (took bool) {
	c := (*conn)(b)
	d := c.set.leaving.Load()
	if took = d != nil && d.canMoveHTTP2(c) && d.offer(c, state); took {
		c.released.Store(true)
	}
	return took
}

// Whole tells whether no part of a record of TLS lies between the socket and the reader.
func (b *below) Whole() bool { return b.seal == nil || !b.seal.Partial() }

func (b *below) NotHTTP2() { b.http2.by.Store(nil); b.speaks.Store(plain) }

// AtRest relies on net/http's setConnState.
func (b *below) AtRest() bool {
	c := (*conn)(b)
	return c.is(http.StateNew) || c.is(http.StateIdle)
}

func (b *below) Serves() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests.streams) > 0
}

// carry hides f, for a function of TLSNextProto.
func carry(f *h2drain.Conn) *tls.Conn {
	if _, ok := f.Conn.(encrypted); ok {
		return quirks.Carry(h2ConnTLS{f})
	}
	return quirks.Carry(f)
}

// h2ConnTLS has the method by which servers see that a connection is encrypted.
type h2ConnTLS struct{ *h2drain.Conn }

func (f h2ConnTLS) ConnectionState() tls.ConnectionState {
	return f.Conn.Conn.(encrypted).ConnectionState()
}

// served is accepted and unwrapTracked.
func (s *Set) served(nc net.Conn) (user net.Conn, c *conn, wrapped bool) {
	switch f := nc.(type) { // most are one of these
	case tcpConn:
		c, user = f.conn, nc
	case *sealed:
		c, wrapped, user = f.own, true, f.seal.user
	}
	if c == nil || c.set != s {
		user = accepted(nc)
		c, wrapped = s.unwrapTracked(user)
	}
	return user, c, wrapped
}

// accepted returns what the listener has accepted, for hooks that expect that type.
func accepted(nc net.Conn) net.Conn {
	for {
		switch f := nc.(type) {
		case *h2drain.Conn:
			nc = f.Conn
		case h2ConnTLS:
			nc = f.Conn
		case interface{ inner() net.Conn }:
			nc = f.inner()
		default:
			return nc
		}
	}
}

// h2cWriter is the ResponseWriter for a request that a handler may answer by hijacking the
// connection and speaking HTTP/2 on it, as golang.org/x/net/http2/h2c does.
type h2cWriter struct {
	http.ResponseWriter
	c     *conn
	ahead int // bytes of the preface that follow the request
}

// h2cUpgrade returns nil for all other requests. The head of HTTP/2's preface is such a request,
// and so is an upgrade by RFC 7540, 3.2.
func h2cUpgrade(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	ahead := 0
	switch {
	case r.ProtoMajor == 2 && r.Method == "PRI" && r.RequestURI == "*":
		ahead = len("SM\r\n\r\n")
	case r.ProtoMajor == 1 && len(r.Header["Http2-Settings"]) == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "h2c"):
		ahead = len(h2frame.Preface)
	default:
		return nil
	}
	if c, _ := r.Context().Value(connKey{}).(*conn); c != nil {
		return &h2cWriter{w, c, ahead}
	}
	return nil
}

// Hijack implements http.Hijacker. An answer to the upgrade itself goes around the h2drain.Conn.
func (u *h2cWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	f := newH2Conn(accepted(nc), u.c, u.ahead, append([]byte(nil), early...), nil)
	return f, bufio.NewReadWriter(bufio.NewReader(f), rw.Writer), nil
}

// Flush implements http.Flusher.
func (u *h2cWriter) Flush() { _ = http.NewResponseController(u.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (u *h2cWriter) Unwrap() http.ResponseWriter { return u.ResponseWriter }
