package draintest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/baton-go/baton/drain/draintest"
)

// A test of one's own service: nothing is lost while it is swapped.
func ExampleLoad() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	defer service.Close()

	load := &draintest.Load{Client: draintest.Client{Addr: service.Listener.Addr().String()}, Keep: 8, Fresh: 2}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	load.Start(ctx)
	for range 3 {
		// here: kill -HUP
		if err := load.Settle(ctx); err != nil {
			fmt.Println(err)
		}
	}
	n := load.Stop()
	fmt.Println(len(n.Failed), "failed,", n.Reconnects, "reconnects")
	// Output: 0 failed, 0 reconnects
}

// A request of one's own, on a connection that stays open for the next.
func ExampleClient() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
	}))
	defer service.Close()

	c := draintest.Client{Addr: service.Listener.Addr().String()}
	defer c.Close()
	a, err := c.Do("PUT", "/", []byte("body"))
	fmt.Println(a.Status, a.Header.Get("X-Method"), err)
	// Output: 200 PUT <nil>
}
