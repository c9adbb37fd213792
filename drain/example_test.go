package drain_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/baton-go/baton/drain"
)

// A whole service: HUP swaps it, USR2 pulls it, USR1 restores it, TERM stops it.
func Example() {
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	if err := drain.ListenAndServe(":8080", nil); err != nil {
		log.Fatal(err)
	}
}

// The long form, for a service with more than one listener, work in the background, or settings of its own.
func ExampleNew() {
	svc, err := drain.New(drain.Config{
		PIDFile:      "/run/orders.pid",
		DrainTimeout: 2 * time.Minute,  // longer than the next
		IdleGrace:    65 * time.Second, // the balancer keeps idle connections for 60s
	})
	if err != nil {
		log.Fatal(err)
	}
	public, err := svc.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	internal, err := svc.Listen("unix", "/run/orders.sock")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(public, &http.Server{Handler: http.DefaultServeMux, IdleTimeout: time.Minute})
	svc.Serve(internal, &http.Server{Handler: http.DefaultServeMux})
	err = svc.Lead("mailer", func(ctx context.Context) { // in one generation at a time
		for ctx.Err() == nil {
			// Send what is due. When ctx ends, finish the one at hand and return.
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Without signals: the program decides when.
func ExampleService_Swap() {
	svc, err := drain.New(drain.Config{Signals: &drain.Signals{}})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /deploy", func(w http.ResponseWriter, r *http.Request) {
		if err := svc.Swap(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		_, _ = io.WriteString(w, "done\n")
	})
	ln, err := svc.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(ln, &http.Server{})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A stream of events that ends when the process is to leave. Browsers come back, to the next generation, and
// say what they have seen.
func ExampleContext() {
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		ctx := drain.Context(r.Context())
		for tick := time.Tick(time.Second); ; {
			select {
			case now := <-tick:
				_, _ = fmt.Fprintf(w, "id: %d\ndata: %v\n\n", now.Unix(), now)
				_ = http.NewResponseController(w).Flush()
			case <-ctx.Done(): // the client is gone, or should come back
				return
			}
		}
	})
	if err := drain.ListenAndServe(":8080", nil); err != nil {
		log.Fatal(err)
	}
}
