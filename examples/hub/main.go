// Command hub is a hub of notifications in one process: what is published reaches each client once,
// also while the binary is swapped.
//
//	go build -o app ./hub && ./app -pidfile app.pid -history history.json
//
// POST /publish takes JSON, and is answered with the number of the message. GET /events is a stream of
// server-sent events: each message from now on, or what follows Last-Event-ID, which browsers send when
// they come back. Package drain tells the streams to end in a swap, once the old generation accepts
// nothing more; -session-spread says over which time.
//
// The history is in memory. It goes from one generation to the next in the pause of a swap, and into the
// file at a stop. A process that is killed takes it along: what may not be lost so belongs in a database.
//
// Signals, -s and the environment are as in examples/nethttp.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

// version tells the builds apart: go build -ldflags "-X main.version=v2".
var version = "dev"

const (
	maxMessage = 64 << 10        // bytes
	unread     = 5 * time.Second // that a write waits for a client: it may be asleep, and read nothing
)

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	file = flag.String("history", "", "save the history in this `file` at a stop")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("version", version))
	cfg.Version = version
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	h := newHistory(*file)
	if err := svc.Own("history", h); err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	svc.Serve(ln, &http.Server{Handler: routes(h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute})
	return svc.Run(context.Background())
}

func routes(h *history) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /publish", h.servePublish)
	mux.HandleFunc("GET /events", h.serveEvents)
	return mux
}

func (h *history) servePublish(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	var data bytes.Buffer // without line ends, which an event's data can't have
	if err != nil || json.Compact(&data, body) != nil {
		http.Error(w, "want JSON", http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprintln(w, h.publish(data.Bytes()))
}

// serveEvents sends the messages until the client leaves, or is to come back. It comes back with the number of what it
// has got last, so there is nothing to say at the end.
func (h *history) serveEvents(w http.ResponseWriter, r *http.Request) {
	ctx := drain.Context(r.Context())
	seen, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if newest := h.newest(); err != nil || seen > newest { // of a process that was killed
		seen = newest
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	// Browsers come back after that many ms; their default is seconds. An ID without data is no event, and lets a
	// client that has got none yet come back to where it was.
	_, _ = fmt.Fprintf(w, "retry: 10\nid: %d\n\n", seen)
	out := http.NewResponseController(w)
	wait := func() { _ = out.SetWriteDeadline(time.Now().Add(unread)) }
	defer wait() // for the end of the stream
	for {
		wait()
		messages, grown := h.after(seen)
		for _, m := range messages {
			_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", m.ID, m.Data)
			seen = m.ID
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
	}
}
