//go:build unix

package drain_test

import (
	"context"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof" // into http.DefaultServeMux
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

// Several servers: one for the public, and one with metrics and pprof for the machine itself. Every port of the program
// comes through Listen: one that net.Listen or http.ListenAndServe has opened makes each swap fail.
func ExampleService_Serve() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	public := http.NewServeMux()
	http.Handle("/metrics", svc.MetricsHandler())
	for address, h := range map[string]http.Handler{":8080": public, "localhost:6060": http.DefaultServeMux} {
		ln, err := svc.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		svc.Serve(ln, &http.Server{Handler: h})
	}
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A program that reloads its configuration at HUP keeps that signal, and a logrotate that sends USR1 still reopens the
// log: the swap comes with USR2, and pulls and restores by Config.ControlSocket.
func ExampleSignals() {
	svc, err := drain.New(drain.Config{
		ControlSocket: "/run/orders/control",
		Signals: &drain.Signals{
			Swap: []os.Signal{syscall.SIGUSR2},
			Stop: []os.Signal{syscall.SIGTERM, os.Interrupt},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	own := make(chan os.Signal, 1)
	signal.Notify(own, syscall.SIGHUP, syscall.SIGUSR1)
	go func() {
		for sig := range own {
			if sig == syscall.SIGHUP {
				reloadConfig()
			} else {
				reopenLog()
			}
		}
	}()
	// Listen and Serve as in the example of New.
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func reloadConfig() {}
func reopenLog()    {}

// A consumer of a queue elsewhere, in a program that may listen nowhere. It takes nothing more when draining begins,
// finishes what it has taken, and acknowledges that. The next generation's consumer is at work by then. Where the queue
// may have one consumer only, Lead takes the place of Go, and its ctx that of taking.
func ExampleService_DrainStarted() {
	svc, err := drain.New(drain.Config{PIDFile: "/run/shipping.pid"})
	if err != nil {
		log.Fatal(err)
	}
	err = svc.Go("orders", func(ctx context.Context) {
		taking, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			<-svc.DrainStarted()
			stop()
		}()
		for {
			switch order, err := receive(taking); {
			case err == nil:
				ship(order) // a swap and a stop wait for this, Config.DrainTimeout at most
				acknowledge(order)
			case taking.Err() != nil:
				return
			default:
				log.Print(err)
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

func receive(context.Context) (order string, err error) { return "", nil }
func ship(string)                                       {}
func acknowledge(string)                                {}

// Options of sockets: of a port, of all its connections, and of one. The next generations have the port
// with its options.
func ExampleService_ListenWith() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := svc.ListenWith(net.ListenConfig{
		KeepAlive: time.Minute,
		Control: func(_, _ string, c syscall.RawConn) error { // before bind, where the socket is opened
			return c.Control(func(fd uintptr) { mark(fd) })
		},
	}, "tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	svc.Serve(ln, &http.Server{ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
		for { // through TLS and wrappers, down to what package net has made; conn itself is no *net.TCPConn
			if tc, ok := conn.(*net.TCPConn); ok {
				_ = tc.SetNoDelay(false) // options are yours; reads, writes, deadlines, Close and File are not
			}
			u, ok := conn.(interface{ NetConn() net.Conn })
			if !ok {
				return ctx
			}
			conn = u.NetConn()
		}
	}})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func mark(uintptr) {} // unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, 7), for one
