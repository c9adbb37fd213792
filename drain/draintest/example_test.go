package draintest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/draintest"
)

// A test of one's own service, in the process of go test. The service takes no signals, and ends with
// its ctx. A swap takes a process of its own: examples/chi has a test that swaps under load.
func ExampleLoad() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	svc, err := drain.New(drain.Config{Signals: &drain.Signals{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := svc.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(ln, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})})
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(serving) }()

	load := &draintest.Load{Client: draintest.Client{Addr: ln.Addr().String()}, Keep: 8, Fresh: 2}
	load.Start(ctx)
	if err := load.Settle(ctx); err != nil { // each client has been answered
		fmt.Println(err)
	}
	n := load.Stop()
	stop()
	fmt.Println(len(n.Failed), "failed,", n.Reconnects, "reconnects, Run returns", <-ended)
	// Output: 0 failed, 0 reconnects, Run returns <nil>
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
