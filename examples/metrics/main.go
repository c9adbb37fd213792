// Command metrics is a service whose sessions outlive swaps, and whose
// /metrics says of each generation what it still has.
//
//	go build -o app ./metrics && ./app -pidfile app.pid -control app.sock
//	curl --no-buffer -H 'Connection: Upgrade' -H 'Upgrade: lines' http://127.0.0.1:8080/session
//
// A session stays with the generation it began in, for up to -drain-timeout
// after the swap that ended that one. Each swap adds a process; where they
// would be more than -max-generations, the oldest is told to leave within 5s,
// sessions or not. So allow for the swaps of one -drain-timeout.
//
// What Prometheus scrapes is what the main generation knows of all: it reaches
// that one with each new connection. -s metrics prints the same, for
// node_exporter's textfile collector. The service's own counter goes on over
// swaps, too.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

var addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")

var counted drain.Counters

func main() {
	drainflag.Main("APP_", drain.Config{DrainTimeout: time.Hour, MaxGenerations: 8}, run)
}

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	if err := svc.Own("counters", &counted); err != nil {
		return err
	}
	generation := svc.Status().Generation
	http.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = svc.Status().WriteMetrics(w)
		for name, n := range counted.All() {
			fmt.Fprintf(w, "# HELP %s Counted here.\n# TYPE %[1]s counter\n%[1]s %v\n", name, n)
		}
	})
	http.HandleFunc("GET /session", func(w http.ResponseWriter, _ *http.Request) {
		counted.Add("sessions_total", 1)
		if err := session(w, generation); err != nil {
			log.Printf("session: %v", err)
		}
	})
	svc.Serve(ln, &http.Server{ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

// session answers each line with the generation and the line, until the client
// goes. Whoever hijacks a connection need not do anything for it to be waited
// for, but close it.
func session(w http.ResponseWriter, generation int) error {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n"); err != nil {
		return err
	}
	lines := bufio.NewScanner(rw)
	for lines.Scan() {
		if _, err := fmt.Fprintln(conn, generation, lines.Text()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
