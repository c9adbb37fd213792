//go:build unix

package listener

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// What Session returns ends with the request, or with the connection where the handler has left that to others.
func TestSession(t *testing.T) {
	errOwn := errors.New("own")
	for name, c := range map[string]struct {
		hijack, gone bool // gone: the handler has returned before Session is called
		lives        bool // until the connection is closed
		cause        error
	}{
		"no session":              {cause: context.Canceled},
		"hijacked":                {hijack: true, lives: true, cause: context.Canceled},
		"hijacked, called late":   {hijack: true, gone: true, lives: true, cause: context.Canceled},
		"no session, called late": {gone: true, cause: context.Canceled},
		"a deadline, hijacked":    {hijack: true, cause: errOwn},
		"a deadline":              {cause: errOwn},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, conns := make(chan context.Context, 1), make(chan net.Conn, 1)
			g := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.hijack {
					nc, _, err := http.NewResponseController(w).Hijack()
					check(t, err)
					conns <- nc
				}
				if c.gone {
					go func() {
						<-r.Context().Done()
						sessions <- Session(r.Context())
					}()
					return
				}
				within, own := r.Context(), func() {}
				if c.cause != context.Canceled {
					within, own = context.WithDeadlineCause(within, time.Now(), c.cause)
				}
				session := Session(within)
				if c.cause != context.Canceled {
					<-session.Done()
				}
				own()
				sessions <- session
			})})
			cl := dial(t, g)
			cl.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			session := <-sessions
			if c.lives {
				g.await(t, "handler not left", func(Counts) bool {
					conn := g.set.all()[0]
					conn.mu.Lock()
					defer conn.mu.Unlock()
					return len(conn.session.ends) == 1
				})
				check(t, session.Err())
				check(t, (<-conns).Close())
			}
			select {
			case <-session.Done():
			case <-time.After(patience):
				t.Fatal("does not end")
			}
			if got := context.Cause(session); got != c.cause {
				t.Errorf("cause %v, want %v", got, c.cause)
			}
		})
	}
}
