package main

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/gin-gonic/gin"
)

// drain.Context takes a *gin.Context as it is.
func TestContextOfGin(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	causes := make(chan error, 4)
	serve := func(path string, of func(*gin.Context) context.Context) {
		r.GET(path, func(c *gin.Context) {
			c.Set("user", "me")
			ctx := drain.Context(of(c))
			c.Status(http.StatusOK)
			c.Writer.Flush()
			<-ctx.Done()
			if ctx.Value("user") != "me" || ctx.Value(gin.ContextKey) != c {
				t.Errorf("%s: the values of the *gin.Context are lost", path)
			}
			causes <- context.Cause(ctx)
		})
	}
	serve("/itself", func(c *gin.Context) context.Context { return c })
	serve("/derived", func(c *gin.Context) context.Context {
		ctx, cancel := context.WithTimeout(c, time.Hour)
		t.Cleanup(cancel)
		return ctx
	})
	type wrapped struct{ *gin.Context }
	serve("/wrapped", func(c *gin.Context) context.Context { return &wrapped{c} })

	svc, err := drain.New(drain.Config{Signals: &drain.Signals{}, IdleGrace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := svc.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	svc.Serve(ln, &http.Server{Handler: r})
	over := make(chan error, 1)
	go func() { over <- svc.Run(context.Background()) }()
	paths := []string{"/itself", "/derived", "/wrapped"}
	for _, path := range paths {
		resp, err := http.Get("http://" + ln.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
	}
	// A client that goes ends the context of its request.
	gone, leave := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(gone, http.MethodGet, "http://"+ln.Addr().String()+"/itself", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = resp.Body.Close()
	if cause := <-causes; !errors.Is(cause, context.Canceled) {
		t.Errorf("the client is gone: %v", cause)
	}
	if err := svc.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	for range paths {
		if cause := <-causes; !errors.Is(cause, drain.ErrDraining) {
			t.Errorf("%v; want %v", cause, drain.ErrDraining)
		}
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}
