package listener

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// Net/http reads a byte behind a handler's back. While leaving, the connection keeps it: a client that sends its next
// request before it has the answer, or just when it has, has that answered by the next generation, and is not told to
// connect again.
func TestNextRequestBehindASlowHandlerMoves(t *testing.T) {
	for _, together := range []bool{false, true} {
		entered, release := make(chan bool, 1), make(chan struct{})
		one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			entered <- true
			<-release
			_, _ = io.WriteString(w, "slow")
		})})
		c := dial(t, one)
		if together {
			c.send(post("x"))
		} else {
			c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		<-entered
		wait := one.depart(t, one.handTo(next(t, one, &http.Server{})), time.Hour)
		for _, c := range one.set.all() {
			c.interruptRead() // the read that was there before looks at the departure
		}
		one.await(t, "a read of net/http is under way", func(Counts) bool {
			stacks := make([]byte, 1<<20)
			return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("sockopt.AwaitEnd"))
		})
		c.send(post("b"))
		one.await(t, "not there", func(Counts) bool { return one.unread() > 0 })
		close(release)
		c.want("slow")
		if g := c.want("b"); g != "2" {
			t.Errorf("generation %q answers", g)
		}
		wait()
		if n := one.set.Counts(); n.Moved != 1 || n.Lost+n.Part+n.CutOff+n.Junk != 0 {
			t.Errorf("%+v", n)
		}
	}
}
