package listener

import (
	"context"
	"io"
	"net/http"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// serveHTTP2 serves a connection of HTTP/2 that has come from another process. It does what net/http does after a
// handshake: up to Go 1.26, net/http speaks HTTP/2 on a *tls.Conn alone. It is called where connections are accepted.
func (l *securedListener) serveHTTP2(f *sealed) {
	srv := l.srv
	h := resumedRequests{srv.ConnContext(context.WithValue(l.base, http.ServerContextKey, srv), f), srv, f}
	srv.ConnState(f, http.StateNew) // Track's, as ConnContext
	go func() {
		defer srv.ConnState(f, http.StateClosed)
		defer f.Close()
		defer l.outlive(f)
		srv.TLSNextProto[quirks.UnencryptedHTTP2](srv, quirks.Carry(f.seal), h)
	}()
}

// leaveHTTP2 tells what serveHTTP2 serves to leave, whichever listener it came from: a server that is closed does not
// know it.
func (l *securedListener) leaveHTTP2() {
	for _, c := range l.set.all() {
		if f := c.http2.by.Load(); f != nil && c.resumed != nil && c.sock.secured.Load().serves(l.srv) {
			go f.Leave(resumeGrace)
		}
	}
}

// resumedRequests has net/http's HTTP/2 do for its requests what net/http does for those of other connections over TLS.
type resumedRequests struct {
	ctx context.Context
	srv *http.Server
	f   *sealed
}

// BaseContext is what HTTP/2 looks for.
func (h resumedRequests) BaseContext() context.Context { return h.ctx }

// ServeHTTP implements http.Handler.
func (h resumedRequests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil { // its scheme is another one
		state := h.f.ConnectionState()
		r.TLS = &state
	}
	if r.Method == http.MethodOptions && r.RequestURI == "*" && !h.srv.DisableGeneralOptionsHandler {
		const most = 4 << 10 // of a body that nobody wants
		w.Header().Set("Content-Length", "0")
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, most))
		return
	}
	h.srv.Handler.ServeHTTP(w, r)
}
