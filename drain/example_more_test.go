package drain_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
)

// HTTPS, with HTTP/2. A certificate that changes on disk is used within a second.
func ExampleListenAndServeTLS() {
	if err := drain.ListenAndServeTLS(":8443", "cert.pem", "key.pem", nil); err != nil {
		log.Fatal(err)
	}
}

// Beside other goroutines: the first one that ends, ends all of them.
func ExampleService_Run() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer stop() // also where Run returns nil: the service is over in this process
		err = svc.Run(ctx)
	})
	group.Go(func() {
		defer stop() // ends Run, as a signal would
		for tick := time.Tick(time.Minute); ; {
			select {
			case <-tick: // refresh a cache
			case <-ctx.Done():
				return
			}
		}
	})
	group.Wait()
	if err != nil {
		log.Fatal(err)
	}
}

// A port for the public, over TLS, and one for the machine itself.
func ExampleService_ServeTLS() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	public, err := svc.Listen("tcp", ":8443")
	if err != nil {
		log.Fatal(err)
	}
	local, err := svc.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.DefaultServeMux, ReadHeaderTimeout: 10 * time.Second}
	if err := svc.ServeTLS(public, srv, "cert.pem", "key.pem"); err != nil {
		log.Fatal(err)
	}
	svc.Serve(local, srv)
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// What a registry is told. A swap changes nothing there: the service stays in it under one name.
func ExampleConfig_hooks() {
	svc, err := drain.New(drain.Config{
		Ready: func(ctx context.Context) error { // before a generation serves
			return errors.Join(openDatabase(ctx), fillCache(ctx))
		},
		Check: func(ctx context.Context, client *http.Client) error { // of a new generation, by itself
			resp, err := client.Get("http://self/orders/1")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("an order is answered with %s", resp.Status)
			}
			return nil
		},
		Join:  register,    // when the service is ready, and after a restore
		Leave: maintenance, // at a pull or a stop, which waits for it
		Gone:  deregister,  // when nothing is in flight any more
	})
	if err != nil {
		log.Fatal(err)
	}
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func openDatabase(context.Context) error { return nil }
func fillCache(context.Context) error    { return nil }
func register(context.Context) error     { return nil }
func maintenance(context.Context) error  { return nil }
func deregister(context.Context) error   { return nil }

// Work that outlives its request: a swap and a stop wait for it.
func ExampleService_Go() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mails := make(chan string, 100)
	// Handlers hand in mails as long as they run; ctx ends when none is left.
	err = svc.Go("mailer", func(ctx context.Context) {
		for {
			select {
			case to := <-mails:
				send(to)
			case <-ctx.Done():
				for len(mails) > 0 {
					send(<-mails)
				}
				return
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		mails <- r.FormValue("mail")
		// Or a goroutine for each.
		err := svc.Go("invoice", func(context.Context) { send(r.FormValue("mail")) })
		if errors.Is(err, drain.ErrDraining) {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func send(string) {}

// A scheduler that must not run twice: the next generation's begins when this one's has returned.
func ExampleService_Lead() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	err = svc.Lead("billing", func(ctx context.Context) {
		for tick := time.Tick(time.Minute); ; {
			select {
			case <-tick:
				bill(ctx)
			case <-ctx.Done(): // context.Cause(ctx) is drain.ErrDraining
				return
			}
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func bill(context.Context) {}

// Connections of a protocol of one's own that stay open in a swap, each with what has been said on it: here a count of
// lines, and the part of a line that has come.
func ExampleService_HandOver() {
	type state struct {
		Lines int
		Rest  []byte // read, and not answered
	}
	var svc *drain.Service
	serve := func(conn net.Conn, st state) {
		over := make(chan struct{})
		defer close(over)
		go func() {
			select {
			case <-svc.DrainStarted():
				_ = conn.SetReadDeadline(time.Now()) // ends the Read below
			case <-over:
			}
		}()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			st.Rest = append(st.Rest, buf[:n]...)
			for {
				_, rest, whole := bytes.Cut(st.Rest, []byte("\n"))
				if !whole {
					break
				}
				st.Rest = rest
				st.Lines++
				if _, err := fmt.Fprintln(conn, st.Lines); err != nil {
					_ = conn.Close()
					return
				}
			}
			switch {
			case err == nil:
				continue
			case errors.Is(err, os.ErrDeadlineExceeded):
				text, _ := json.Marshal(st)
				if svc.HandOver(conn, text) == nil {
					return // the next generation has it; its client notices nothing
				}
				// A stop, or a version that refuses it. A protocol with a word for goodbye says it here.
			}
			_ = conn.Close()
			return
		}
	}
	svc, err := drain.New(drain.Config{
		Adopt: func(conn net.Conn, text []byte) error {
			var st state
			if err := json.Unmarshal(text, &st); err != nil {
				return err // the connection stays with the old generation
			}
			go serve(conn, st)
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := svc.Listen("tcp", ":7000")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			conn, err := ln.Accept()
			switch {
			case errors.Is(err, net.ErrClosed): // draining has begun
				return
			case err != nil: // out of descriptors, most likely
				time.Sleep(10 * time.Millisecond)
			default:
				go serve(conn, state{})
			}
		}
	}()
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A long answer that ends in time when the process is to leave, in the handler of a server of one's own.
func ExampleService_Draining() {
	svc, err := drain.New(drain.Config{}) // its SessionSpread is the time over which handlers are told, one by one
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /poll", func(w http.ResponseWriter, r *http.Request) {
		ctx := svc.Draining(r.Context())
		select {
		case <-news():
			w.WriteHeader(http.StatusOK)
		case <-ctx.Done():
			if context.Cause(ctx) == drain.ErrDraining {
				w.WriteHeader(http.StatusNoContent) // come back, to the next generation
			}
		}
	})
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func news() <-chan struct{} { return nil }

// A deployment that swaps a service, and tells why it did not.
func ExampleClient() {
	ctx, done := context.WithTimeout(context.Background(), 2*time.Minute)
	defer done()
	service := drain.Client{Socket: "/run/orders/control"}
	var refused *drain.RefusedError
	switch err := service.Swap(ctx); {
	case err == nil:
		st, err := service.Status(ctx)
		fmt.Println("generation", st.Generation, err)
	case errors.As(err, &refused):
		fmt.Println("not now:", err) // nothing was tried
	case errors.Is(err, drain.ErrSwapFailed):
		fmt.Println("the new binary is no good, the old one serves on:", err)
	case errors.Is(err, drain.ErrStopped):
		fmt.Println("nothing runs there:", err)
	default:
		fmt.Println(err) // ctx has ended, for one
	}
}

// A message for each swap that has failed.
func ExampleConfig_events() {
	svc, err := drain.New(drain.Config{
		OnEvent: func(e drain.Event) {
			switch e.Kind {
			case drain.EventSwapFailed:
				alert("generation %d serves on: %v", e.Generation, e.Err)
			case drain.EventCutOff:
				alert("generation %d: %v", e.Generation, e.Err)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func alert(format string, args ...any) { log.Printf(format, args...) }

// A health route of the program's own, behind its middleware; and what healthy means to it.
func ExampleService_Health() {
	var db *sql.DB // opened elsewhere
	svc, err := drain.New(drain.Config{
		PingPath: "-", // the route below is enough
		Healthy:  func(ctx context.Context) error { return db.PingContext(ctx) },
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/healthz", svc.Health()) // with Gin: r.GET("/healthz", gin.WrapH(svc.Health()))
	ln, err := svc.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(ln, &http.Server{})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
