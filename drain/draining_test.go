package drain

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/baton-go/baton/drain/internal/work"
)

func TestContextOfNoServiceIsReturned(t *testing.T) {
	if ctx := t.Context(); Context(ctx) != ctx {
		t.Error("another context")
	}
}

func TestContextKeepsTheUsersBaseContext(t *testing.T) {
	type key struct{}
	s := &Service{farewell: work.NewFarewell(ErrDraining)}
	srv := &http.Server{BaseContext: func(net.Listener) context.Context {
		return context.WithValue(t.Context(),
			key{}, 1)
	}}
	s.injectService(srv)
	base := srv.BaseContext(nil)
	if base.Value(key{}) != 1 {
		t.Error("the user's value is gone")
	}
	ctx := Context(base)
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	s.farewell.Begin(0, 0)
	<-ctx.Done()
	if base.Err() != nil || !errors.Is(context.Cause(ctx), ErrDraining) {
		t.Errorf("base: %v, cause %v", base.Err(), context.Cause(ctx))
	}
}

func TestContextOfHTTP2(t *testing.T) {
	s := &Service{farewell: work.NewFarewell(ErrDraining)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := Context(r.Context())
		s.farewell.Begin(0, 0)
		<-ctx.Done()
		if r.ProtoMajor != 2 || r.Context().Err() != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	s.injectService(srv.Config)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
}
