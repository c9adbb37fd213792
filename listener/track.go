package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

type connKey struct{}

// Track makes srv tell the set what it does with each connection. It must be called before srv serves on a listener of
// the set, with Serve, and at most once for a server. It puts itself around srv.ConnState, srv.BaseContext, srv.ConnContext and
// srv.Handler, and, when srv begins to serve, around what net/http has put into srv.TLSNextProto; what was there goes on
// being called. While the set leaves, answers of HTTP/1.1 on connections that can't be moved carry "Connection: close".
func (s *Set) Track(srv *http.Server) {
	hook := srv.ConnState
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		nc = unframed(nc)
		if hook != nil {
			hook(nc, state) // first: it may set deadlines, which note is not to count
		}
		if c, wrapped := ours(nc); c != nil {
			if wrapped {
				c.wrapped.Store(true)
			}
			c.note(srv, nc, state)
		}
	}
	base, lead := srv.BaseContext, sync.OnceValue(func() bool { return s.lead(srv) })
	srv.BaseContext = func(ln net.Listener) context.Context {
		ln = s.stand(srv, ln, lead()) // by now srv has been configured for HTTP/2, and has accepted nothing
		if base != nil {
			return base(ln)
		}
		return context.Background()
	}
	with, unled := srv.ConnContext, new(sync.Once)
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		nc = unframed(nc)
		if c, _ := ours(nc); c != nil {
			ctx = context.WithValue(ctx, connKey{}, c)
		}
		if with != nil {
			ctx = with(ctx, nc)
		}
		return ctx
	}
	h := srv.Handler
	if h == nil {
		h = http.DefaultServeMux
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && r.Method != "PRI" {
			if c, _ := r.Context().Value(connKey{}).(*conn); c != nil && c.led.Load() == nil {
				c.h2.Store(true)
				unled.Do(func() { s.warning(errUnled) })
			}
		}
		if d := s.leaving.Load(); d != nil {
			if c, _ := r.Context().Value(connKey{}).(*conn); c == nil || !d.moves(c) && c.led.Load() == nil {
				w.Header().Set("Connection", "close")
			}
		}
		if u := upgrade(w, r); u != nil {
			w = u
		}
		h.ServeHTTP(w, r)
	})
}

// Requests tells how many requests the connection of the request with context ctx has brought, this one included; 0 when
// it is no connection of a tracked server. One that was adopted between two requests had at least one before.
func Requests(ctx context.Context) int {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return int(c.requests.Load())
	}
	return 0
}

// ours finds the connection of this package, under what other listeners have wrapped around it if need be.
func ours(nc net.Conn) (c *conn, wrapped bool) {
	for {
		switch own := nc.(type) {
		case *conn:
			return own, wrapped
		case tcpConn:
			return own.conn, wrapped
		}
		u, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		nc, wrapped = u.NetConn(), true
	}
}

// note is called by net/http on the goroutine that serves the connection, before it goes on.
func (c *conn) note(srv *http.Server, nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if c.guest.Load() {
			c.lodge(srv)
		}
		if _, ok := nc.(*tls.Conn); ok {
			c.records.Store(new(records))
		}
		fallthrough
	case http.StateIdle:
		if t, ok := nc.(*tls.Conn); ok && state == http.StateIdle && t.ConnectionState().NegotiatedProtocol == "h2" {
			c.h2.Store(true)
		}
		c.heard.Store(false)
		c.mu.Lock()
		c.waits, c.rested = 0, time.Now()
		c.mu.Unlock()
	case http.StateActive:
		c.requests.Add(1)
	}
	c.state.Store(int32(state) + 1)
}

// lodge gives a connection that was adopted between two requests the timeout of such a wait. net/http takes it for a new
// one, which must send its first header within ReadHeaderTimeout.
func (c *conn) lodge(srv *http.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests.Store(1)
	idle := srv.IdleTimeout
	if idle == 0 {
		idle = srv.ReadTimeout
	}
	c.header = srv.ReadHeaderTimeout
	if c.header == 0 {
		c.header = srv.ReadTimeout
	}
	c.whole = srv.ReadTimeout
	c.deadline = time.Time{}
	if idle > 0 {
		c.deadline = time.Now().Add(idle)
	}
	_ = c.force(c.deadline)
}
