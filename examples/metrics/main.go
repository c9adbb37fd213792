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
// node_exporter's textfile collector.
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
	"os"
	"time"

	"github.com/baton-go/baton/drain"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	pidFile := flag.String("pidfile", "", "keep the pid of the process in charge in this `file`")
	control := flag.String("control", "", "take commands on this unix `socket`; with -s, send one to it")
	command := flag.String("s", "", "send this `command` to the running service and exit: reload, pull, restore, stop, status or metrics")
	probation := flag.Duration("probation", time.Second, "how long a new generation must live before it takes over")
	drainTimeout := flag.Duration("drain-timeout", time.Hour, "how long a session may outlive its generation, or a stop")
	maxGenerations := flag.Int("max-generations", 8, "how many processes there may be at once")
	flag.Parse()

	if *command != "" {
		answer, err := drain.Control(context.Background(), *control, *command)
		if err != nil {
			log.Fatal(err)
		}
		if *command == "status" || *command == "metrics" {
			_, _ = os.Stdout.Write(answer)
		}
		return
	}

	svc, err := drain.New(drain.Config{
		PIDFile:        *pidFile,
		ControlSocket:  *control,
		Probation:      *probation,
		DrainTimeout:   *drainTimeout,
		MaxGenerations: *maxGenerations,
	})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	generation := svc.Status().Generation
	http.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = svc.Status().WriteMetrics(w)
	})
	http.HandleFunc("GET /session", func(w http.ResponseWriter, _ *http.Request) {
		if err := session(w, generation); err != nil {
			log.Printf("session: %v", err)
		}
	})
	svc.Serve(ln, &http.Server{ReadHeaderTimeout: 10 * time.Second})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
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
