package drain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/baton-go/baton/drain"
)

// visits is a counter in memory, of which there is one: a swap takes it along, a stop saves it.
type visits struct {
	mu sync.Mutex
	n  int
}

func (v *visits) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n++
	_, _ = io.WriteString(w, "one more\n")
}

const savedVisits = "/var/lib/orders/visits"

func (v *visits) Acquire(_ context.Context, r io.Reader) error {
	if r == nil { // the first generation, or the one before has died
		f, err := os.Open(savedVisits)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	_, err := fmt.Fscan(r, &v.n)
	return err
}

func (v *visits) Release(_ context.Context, w io.Writer) error {
	if w == nil { // no generation takes it over
		return os.WriteFile(savedVisits, fmt.Append(nil, v.n), 0o600)
	}
	_, err := fmt.Fprint(w, v.n)
	return err
}

// What one generation at a time has: requests wait while it goes from one to the next.
func ExampleService_Own() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	counter := &visits{}
	if err := svc.Own("visits", counter); err != nil {
		log.Fatal(err)
	}
	ln, err := svc.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(ln, &http.Server{Handler: counter})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Datagrams: a swap loses none that the kernel has. The generation that reads one answers it.
func ExampleService_ListenPacket() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	pc, err := svc.ListenPacket("udp", ":5353")
	if err != nil {
		log.Fatal(err)
	}
	err = svc.Go("echo", func(context.Context) { // ends with ReadFrom, not with its context
		for buf := make([]byte, 64<<10); ; {
			n, from, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			} else if err == nil {
				_, _ = pc.WriteTo(buf[:n], from)
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

// framework is a server that knows how its connections end, say of gRPC or a framework of its own.
type framework struct{ *http.Server }

func (f framework) GracefulStop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = f.Shutdown(ctx)
}

// A server that is not net/http's. *grpc.Server has these two methods as it is.
func ExampleService_ServeGraceful() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := svc.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	svc.ServeGraceful(ln, framework{&http.Server{}})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A program that can't start tells the generation that has started it why: the swap fails with that error.
func ExampleService_Fail() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stat("/etc/orders/prices.csv"); err != nil {
		log.Fatal(svc.Fail(err))
	}
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
