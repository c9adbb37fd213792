// Command pushes is a push gateway in small: jobs push numbers, Prometheus reads their sums. What it has acknowledged
// is in memory alone, and is there after each swap and each stop.
//
//	go build -o app ./pushes && ./app -file pushes.txt -help-dir help -pidfile app.pid
//	curl -d 'backup_bytes 12e6' localhost:8080/push/nightly   # adds; with -X PUT it replaces the group
//	curl -d 'what a backup has written' -X PUT localhost:8080/help/backup_bytes
//	kill -HUP $(cat app.pid); curl localhost:8080/metrics
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

var (
	addr    = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	tlsAddr = flag.String("tls-addr", "", "serve TLS, with HTTP/2, on this `host:port` too")
	cert    = flag.String("cert", "", "the certificate, and those of its issuers, in this `file`")
	key     = flag.String("key", "", "its private key")
	file    = flag.String("file", "pushes.txt", "keep the pushes in this `file` while the service is stopped")
	helpDir = flag.String("help-dir", "help", "keep what the metrics mean in this `folder`")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	p, h := &pushes{file: *file}, &help{dir: *helpDir}
	// A generation acquires them in this order, once the one before has released them in reverse. Nothing is loaded
	// here: the old generation still serves, and acknowledges what would then be missing.
	if err := errors.Join(svc.Own("pushes", p), svc.Own("help", h)); err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	svc.Serve(ln, &http.Server{Handler: routes(p, h), ReadHeaderTimeout: 10 * time.Second})
	if *tlsAddr != "" {
		if ln, err = svc.Listen("tcp", *tlsAddr); err != nil {
			return fmt.Errorf("-tls-addr %s: %w", *tlsAddr, err)
		}
		srv := &http.Server{Handler: routes(p, h), ReadHeaderTimeout: 10 * time.Second}
		if err := svc.ServeTLS(ln, srv, *cert, *key); err != nil {
			return fmt.Errorf("-cert, -key: %w", err)
		}
	}
	return svc.Run(context.Background())
}

func routes(p *pushes, h *help) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		var all bytes.Buffer // no client is waited for while pushes are
		_ = p.write(&all)
		_, _ = all.WriteTo(w)
	})
	mux.HandleFunc("POST /push/{name}", withBody(func(name, body string) error { return p.push(name, body, false) }))
	mux.HandleFunc("PUT /push/{name}", withBody(func(name, body string) error { return p.push(name, body, true) }))
	mux.HandleFunc("GET /help/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, h.of(r.PathValue("name")))
	})
	mux.HandleFunc("PUT /help/{name}", withBody(h.put))
	return mux
}

// names are those of groups and metrics: what the text format needs no quotes for.
var names = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// withBody answers 200 when f has done it, and not before: that is what the service acknowledges.
func withBody(f func(name, body string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 32<<20))
		if name := r.PathValue("name"); err == nil && !names.MatchString(name) {
			err = fmt.Errorf("%q is no name", name)
		}
		if err == nil {
			err = f(r.PathValue("name"), string(body))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}
}
