package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/baton-go/baton/listener/internal/quirks"
	"github.com/baton-go/baton/listener/internal/sniff"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Track makes srv tell the set what it does with each connection. It must be called before srv
// serves: by Serve, or by its own Serve or ServeTLS, as where a framework runs it. A second call for
// the same server changes nothing, so one server may serve on several listeners, as in net/http.
//
// Track wraps srv.BaseContext, which must not be set afterwards. When srv begins to serve, Track wraps
// what srv.ConnState, srv.ConnContext and srv.Handler are then, and what net/http has put into
// srv.TLSNextProto. All of these are still called. The handler is first wrapped by the functions of around,
// the last one outermost. While the set leaves, answers of HTTP/1.1 on connections that can't be moved carry
// "Connection: close".
//
// A client that goes away ends the context of its request, as in net/http; while the handler is younger than 20ms, up
// to 20ms later. That saves each short request a read behind its handler's back.
//
// Leave calls what srv.RegisterOnShutdown was given, each function once and in a goroutine of its own,
// as srv.Shutdown does, and does not wait for them. Functions that are registered later are not called.
func (s *Set) Track(srv *http.Server, around ...func(http.Handler) http.Handler) {
	s.tracked.mu.Lock()
	defer s.tracked.mu.Unlock()
	if !s.tracked.add(srv) {
		return
	}
	base, begin := srv.BaseContext, sync.OnceValue(func() (lead bool) {
		s.surround(srv, around)
		return s.interceptHTTP2(srv)
	})
	srv.BaseContext = func(ln net.Listener) context.Context {
		own, _ := ln.(*securedListener)
		// By now srv has been configured for HTTP/2, and has accepted nothing.
		ln, http2 := s.configureFronts(srv, ln, begin())
		var limits *http2Limits
		if http2 {
			limits = limitsHTTP2(srv)
		}
		s.expectTracked(ln, limits)
		ctx := context.Background()
		if base != nil {
			ctx = base(ln)
		}
		if own != nil {
			own.base = ctx
		}
		return ctx
	}
}

// surround puts the set around what srv calls.
func (s *Set) surround(srv *http.Server, around []func(http.Handler) http.Handler) {
	hook := srv.ConnState
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		nc, c, wrapped := s.served(nc)
		if c != nil && c.resumes(state) {
			return
		}
		if hook != nil {
			hook(nc, state) // first: it may set deadlines, which onState is not to count
		}
		if c != nil {
			if wrapped && c.seal == nil {
				c.wrapper.seen.Store(true)
			}
			c.onState(srv, nc, state)
			if c.wrapper.hides.Load() && (state == http.StateClosed || state == http.StateHijacked) {
				hiddenConns.Delete(connIdentity(nc))
			}
		}
	}
	with := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		nc = accepted(nc)
		if c := s.find(nc); c != nil {
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
	for _, wrap := range around {
		h = wrap(h)
	}
	srv.Handler = s.trackedHandler(h)
}

// trackedHandler tells the connections of the requests that h gets.
func (s *Set) trackedHandler(h http.Handler) http.Handler {
	var unled sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		if c != nil {
			if f := c.http2.by.Load(); f != nil && f.Answer(w) {
				return
			}
			if r.ProtoMajor == 2 && r.Method != "PRI" && c.http2.by.Load() == nil {
				c.speaks.Store(framed)
				unled.Do(func() { s.cfg.OnWarning(errNoFront) })
			}
			if !c.dialed {
				s.requests.Add(1)
			}
			c.requestBegins(r)
			defer c.requestEnds(r)
		}
		// Where c is nil, another process has the connection, and tells whether it goes on.
		if d := s.leaving.Load(); c.endsWith(r) || d != nil && c != nil && !d.goesOn(c, r) {
			w.Header().Set("Connection", "close")
		}
		if u := h2cUpgrade(w, r); u != nil {
			w = u
		}
		h.ServeHTTP(w, r)
	})
}

// Requests tells how many requests the connection of the request with context ctx has brought, this
// one included; 0 when it is no connection of a tracked server. One that was adopted between two
// requests had at least one before.
func Requests(ctx context.Context) int {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return int(c.requests.count.Load())
	}
	return 0
}

// Aside says that the request with context ctx is not one of those that a service is there for: a probe, an operator's.
// [Counts] has such requests apart. A handler calls it once.
func Aside(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok && !c.dialed {
		c.set.aside.Add(1)
	}
}

// onState is called by net/http on the goroutine that serves the connection, before it goes on.
func (c *conn) onState(srv *http.Server, nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if c.adopted.idle.Load() {
			c.setAdoptedTimeouts(srv)
		}
		if _, ok := nc.(*tls.Conn); ok && !c.foreign && c.speaks.Load() == plain { // or the wrapper has shaken hands
			c.secure(new(sniff.Records))
		}
		fallthrough
	case http.StateIdle:
		t, ok := nc.(*tls.Conn)
		is := c.speaks.Load() // what is sealed or led is known, and to ask costs
		if ok && state == http.StateIdle && is != insealed && is != framed &&
			t.ConnectionState().NegotiatedProtocol == "h2" {
			c.speaks.Store(framed)
		}
		if c.rejected.Load() {
			c.rejected.Store(false)
		}
		early := c.input.nextByte.Load()
		if early {
			c.input.nextByte.Store(false)
		}
		c.input.sinceIdle.Store(early)
		if c.input.beforeLeave.Load() {
			c.input.beforeLeave.Store(false)
		}
		if !early {
			c.input.head.Store(0)
		}
		c.mu.Lock()
		c.deadlines.lose(deadlineSame)
		c.deadlines.calls, c.since.quiet, c.since.begun, c.requests.handled = 0, now(), 0, false
		c.since.idle = c.since.quiet
		c.mu.Unlock()
	case http.StateActive:
		switch {
		case c.http2.by.Load() != nil && !c.http2.begun.Swap(true):
			c.requests.count.Store(0) // HTTP/2 begins, without a request: what was read before is its preface
		case !c.requests.countsStreams.Load():
			c.requests.count.Add(1)
		}
		c.input.lines.Take()
	case http.StateHijacked:
		c.mu.Lock()
		c.session.hijacked = true
		c.mu.Unlock()
	}
	c.state.Store(int32(state) + 1)
	if f := c.http2.by.Load(); f != nil && state == http.StateIdle {
		f.Rests()
	}
	if c.foreign {
		c.closeForeign()
	}
}

// setAdoptedTimeouts gives a connection that was adopted between two requests the timeout of such a
// wait. Net/http takes it for a new one, which must send its first header within ReadHeaderTimeout.
func (c *conn) setAdoptedTimeouts(srv *http.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests.count.Store(1)
	idle := srv.IdleTimeout
	if idle == 0 {
		idle = srv.ReadTimeout
	}
	c.deadlines.headerTimeout = srv.ReadHeaderTimeout
	if c.deadlines.headerTimeout == 0 {
		c.deadlines.headerTimeout = srv.ReadTimeout
	}
	c.deadlines.readTimeout = srv.ReadTimeout
	c.deadlines.user = time.Time{}
	if idle > 0 {
		c.deadlines.user = c.adopted.at.Add(idle)
	}
	_ = c.setReadDeadlineLocked(c.deadlines.user)
}

// goesOn tells whether the client of c may send another request behind r.
func (d *drainer) goesOn(c *conn, r *http.Request) bool {
	return d.canHandOver(c) || c.http2.by.Load() != nil || d.hasPipelined(c, r)
}

// hasPipelined tells, while the server leaves, whether the client sent more requests behind r
// before it could know. Then the answer to r is not to be the last. That holds for one grace.
func (d *drainer) hasPipelined(c *conn, r *http.Request) bool {
	return int64(now()) <= d.from.Load()+d.grace.Load() && c.hasPipelined(r)
}

// endsWith tells whether the answer to r is to be the last for the age of c.
func (c *conn) endsWith(r *http.Request) bool {
	if c == nil || !c.age.over() || r.ProtoMajor != 1 || r.Header["Upgrade"] != nil || c.hasPipelined(r) {
		return false
	}
	c.tellAge()
	return true
}

// hasPipelined tells whether the client has sent more requests behind r, of HTTP/1. In TLS it sees what has been
// decrypted, and behind a request without a body what lies unread; where the server decrypts, nothing.
func (c *conn) hasPipelined(r *http.Request) bool {
	speaks := c.speaks.Load()
	if r.ProtoMajor != 1 || speaks != plain && speaks != insealed {
		return false
	}
	if c.input.lines.Ahead.Load() > 0 {
		return true
	}
	n := sockopt.Unread(c.Conn)
	if n == 0 || r.ContentLength == 0 {
		return n > 0
	}
	if speaks != plain {
		return false
	}
	return http1{c}.linesIn(sockopt.Peek(c.Conn, min(n, 2*quirks.ReadSize)), true) > 0 // behind the body
}
