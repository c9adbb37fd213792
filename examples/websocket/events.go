package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/gin-gonic/gin"
)

const (
	interval = 20 * time.Millisecond
	memory   = time.Minute // how far back a client may ask

	unread = 5 * time.Second // that a write waits for a client: it may be asleep, and read nothing
)

// now is the number of the newest event. Every process that serves them has the
// same numbers, as with a log that they share.
func now() int64 { return time.Now().UnixNano() / int64(interval) }

// events sends every event from now on, or after the client's last.
func events(c *gin.Context) {
	ctx := drain.Context(c.Request.Context())
	next := now() + 1
	if seen, err := strconv.ParseInt(c.GetHeader("Last-Event-ID"), 10, 64); err == nil {
		next = max(seen+1, next-int64(memory/interval))
	}
	c.Header("Content-Type", "text/event-stream")
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusOK)
	_, _ = fmt.Fprint(c.Writer, "retry: 100\n\n") // browsers come back after that many ms; their default is seconds
	out := http.NewResponseController(c.Writer)
	wait := func() { _ = out.SetWriteDeadline(time.Now().Add(unread)) }
	defer wait() // for the end of the stream
	for {
		wait()
		for ; next <= now(); next++ {
			_, _ = fmt.Fprintf(c.Writer, "id: %d\ndata: %[1]d\n\n", next)
		}
		c.Writer.Flush()
		select {
		case <-time.After(time.Until(time.Unix(0, next*int64(interval)))):
		case <-ctx.Done(): // the client has gone, or will come back
			return
		}
	}
}
