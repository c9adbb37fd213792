package listener

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/baton-go/baton/listener/internal/quirks"
)

// The server's buffer cuts the next request in two at any byte. The ledger counts it behind the last answer
// all the same.
func TestRequestThatTheBufferCutsIsCounted(t *testing.T) {
	t.Parallel()
	const following = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, x := range []struct {
		name, head, body, behind string
		lost                     int64
	}{
		{"no body", "GET / HTTP/1.1\r\nHost: x\r\n", "", following, 1},
		{"a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n", "body", following, 1},
		{"nothing", "GET / HTTP/1.1\r\nHost: x\r\n", "", "", 0},
	} {
		for cut := range len(following) {
			entered, release := make(chan struct{}, 1), make(chan struct{})
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				entered <- struct{}{}
				<-release
				w.Header().Set("Connection", "close") // as Track does for one that begins after the departure
			})})
			c := dial(t, one)
			one.await(t, "not accepted", func(n Counts) bool { return n.New == 1 })
			pad := quirks.ReadSize - cut - len(x.head) - len("X: \r\n\r\n") - len(x.body)
			c.send(fmt.Sprintf("%sX: %s\r\n\r\n%s%s",
				x.head, strings.Repeat("x", pad), x.body, strings.Repeat(x.behind, 3)))
			<-entered
			wait := one.depart(t, nil, 0)
			close(release)
			if resp, err := http.ReadResponse(c.br, nil); err != nil || !resp.Close {
				t.Fatalf("%s, cut at %d: %+v, %v", x.name, cut, resp, err)
			}
			wait()
			if n := one.set.Counts(); n.Lost != x.lost {
				t.Errorf("%s, cut at %d: %+v", x.name, cut, n)
			}
		}
	}
}
