package drain

import (
	"context"
	"net"
	"net/http"
	"reflect"

	"github.com/baton-go/baton/drain/internal/gate"
)

// Draining returns a context that ends when ctx does, or when this generation drains and it is time
// for the caller to come to an end. It is for WebSockets, event streams, gRPC streams, chats and
// other handlers that would go on for ever. A stop or swap waits for them, at most
// Config.DrainTimeout. Give it the request's context, or one that ends when the work does: the
// service keeps it until then.
//
// Each call draws its own moment, evenly from Config.SessionSpread, which has its place in a swap, or
// from Config.IdleGrace in a stop. So ten thousand clients are not told to come back all at once. If
// the moment is over, the context has ended already. When the generation is told to leave sooner
// (Config.MaxGenerations), all end within 2.5s.
//
// In a swap no moment comes before this generation has closed its listening sockets. So a client that reconnects as
// soon as it is told reaches the next generation. An HTTP/2 client gets a GOAWAY before its stream ends, and opens no
// other stream on that connection. An HTTP/1.1 client over TLS may send its next request on the old connection, to this
// generation: the context has ended then, and the answer closes the connection. DrainStarted tells when draining
// begins; this generation may still accept connections then.
//
// The cause of the context's end (context.Cause) is ErrDraining where it is not that of ctx. The end
// closes nothing: the handler says goodbye in the way of its protocol and returns.
//
// Where a handler of a server of this service has hijacked its connection and returned, the context
// of its request has ended with that. The one for leaving goes on until the connection is closed, or
// the deadline of ctx is over. A context that the program derives from the request's and cancels
// ends it before the handler returns, and not after.
//
// A swap with owners (Own) does not wait for a handler that has called it.
func (s *Service) Draining(ctx context.Context) context.Context {
	gate.Endless(ctx)
	return drainingBy(ctx, s.farewell)
}

// DrainStarted returns a channel that is closed when this generation begins to drain: for what has
// to act at once, such as handing connections over with HandOver. It is closed at the end of the
// service, too.
func (s *Service) DrainStarted() <-chan struct{} { return s.work.Draining().Done() }

// Context is Service.Draining for a request: of the service whose server, one that was given to Serve, has brought the
// request with this context. Any other context it returns as it is.
//
// A *gin.Context is taken for that of its request, whether Engine.ContextWithFallback is set or not. The values are
// those of the *gin.Context, which must not outlive the handler. Echo's Context is no context.Context: pass
// c.Request().Context().
func Context(ctx context.Context) context.Context {
	if s, ok := ctx.Value(serviceKey{}).(*Service); ok {
		return s.Draining(ctx)
	}
	r := requestOf(ctx)
	if r == nil {
		return ctx
	}
	s, ok := r.Context().Value(serviceKey{}).(*Service)
	switch {
	case !ok:
		return ctx
	case ctx.Done() == nil: // it never ends, not even with the request
		return withValues{s.Draining(r.Context()), ctx}
	}
	return s.Draining(ctx)
}

// requestOf is the request of a *gin.Context, of what embeds one, or of a context that is derived from one. Those do
// not lead to the values of the request's context by themselves.
func requestOf(ctx context.Context) *http.Request {
	const itself = "_gin-gonic/gin/contextkey" // gin.ContextKey
	var c any = ctx
	if v := ctx.Value(itself); v != nil {
		c = v
	}
	v := reflect.Indirect(reflect.ValueOf(c))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName("Request")
	if !ok || !field.IsExported() {
		return nil
	}
	v, err := v.FieldByIndexErr(field.Index)
	if err != nil || !v.CanInterface() {
		return nil
	}
	r, _ := v.Interface().(*http.Request)
	return r
}

// injectService makes the service and the listener known to the contexts of srv's requests. It does so once a
// listener, so that no request pays for it.
func (s *Service) injectService(srv *http.Server) {
	base := srv.BaseContext
	srv.BaseContext = func(ln net.Listener) context.Context {
		ctx := context.Background()
		if _, none := ln.(closedListener); base != nil && !none {
			ctx = base(ln)
		}
		return context.WithValue(context.WithValue(ctx, serviceKey{}, s), listenerKey{}, ln)
	}
}
