package drain

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"

	"github.com/baton-go/baton/drain/internal/forward"
)

// A request that an older generation has read finds its server by the address of the listener that has accepted it.

// Of a request's context.
type (
	serviceKey  struct{} // the *Service
	listenerKey struct{} // the net.Listener
)

func nameOf(ln net.Listener) string { return ln.Addr().Network() + " " + ln.Addr().String() }

// listenerOf is the name of the listener that has accepted the request of ctx, or "".
func listenerOf(ctx context.Context) string {
	if ln, ok := ctx.Value(listenerKey{}).(net.Listener); ok {
		return nameOf(ln)
	}
	return ""
}

// target is the handler of the server with that listener, and what gives its requests their context. Where there is no
// such server, it is the only one, or one that says so.
func (s *servers) target(about *forward.About, client net.Conn) (http.Handler, func(context.Context) context.Context) {
	all := s.list()
	i := slices.IndexFunc(all, func(srv server) bool { return nameOf(srv.ln) == about.Listener })
	other := func(srv server) bool { return srv.Server != all[0].Server }
	if i < 0 && len(all) > 0 && !slices.ContainsFunc(all, other) {
		i = 0
	}
	if i < 0 {
		same := func(ctx context.Context) context.Context { return ctx }
		return answerAll("this version of the service does not serve here"), same
	}
	srv := all[i]
	s.Lock()
	own := s.contexts[srv.Server]
	s.Unlock()
	return srv.Handler, func(ctx context.Context) context.Context {
		if own.base != nil {
			ctx = withValues{ctx, own.base(srv.ln)}
		}
		ctx = context.WithValue(context.WithValue(ctx, serviceKey{}, s.service), listenerKey{}, srv.ln)
		ctx = context.WithValue(ctx, http.ServerContextKey, srv.Server)
		if own.conn != nil {
			if about.TLS != nil { // what it knows such a connection by
				client = tls.Server(client, &tls.Config{MinVersion: tls.VersionTLS12})
			}
			ctx = own.conn(ctx, client)
		}
		return ctx
	}
}

// contexts are what the program itself has set in a server.
type contexts struct {
	base func(net.Listener) context.Context
	conn func(context.Context, net.Conn) context.Context
}

// keepContexts is called before anything puts itself around them. The caller holds s.
func (s *servers) keepContexts(srv *http.Server) {
	s.contexts[srv] = contexts{srv.BaseContext, srv.ConnContext}
}

// keepConnContext is called when srv, of a framework, begins to serve: until then that may set it.
func (s *servers) keepConnContext(srv *http.Server) {
	s.Lock()
	defer s.Unlock()
	s.contexts[srv] = contexts{s.contexts[srv].base, srv.ConnContext}
}

// withValues is a context with the values of another one before its own.
type withValues struct {
	context.Context
	of context.Context
}

func (c withValues) Value(key any) any {
	if v := c.of.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}
