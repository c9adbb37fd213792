package listener

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// The last answer arrives whole when its client has sent another request that nobody reads, or sends one when
// the server is done.
func TestLastAnswerArrives(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, later := range []bool{false, true} {
		leaves := make(chan struct{})
		requests := 0
		one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if requests++; requests == 2 {
				<-leaves
				w.Header().Set("Connection", "close")
				_, _ = w.Write(make([]byte, 1<<20)) // more than the client's kernel takes, less than the server's
			}
		})})
		c := dial(t, one)
		sends := request + request
		if !later {
			sends += request
		}
		c.send(sends)
		read := func() {
			resp, err := http.ReadResponse(c.br, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if err != nil {
				t.Fatalf("later %v: %v", later, err)
			}
		}
		read()
		wait := one.depart(t, nil, time.Millisecond)
		close(leaves)
		one.await(t, "not closed", func(Counts) bool {
			return !slices.ContainsFunc(one.set.all(), func(c *conn) bool { return !c.isClosed() })
		})
		if later {
			c.send(request)
		}
		read()
		wait()
	}
}
