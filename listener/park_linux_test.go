package listener

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestPark: what comes on a connection at rest waits, and moves with it or is read here at last, however late. What has
// begun goes on.
func TestPark(t *testing.T) {
	const timeout = 200 * time.Millisecond
	req := post("hello")
	for name, c := range map[string]struct {
		asks  bool // for something else before
		sends int  // bytes of the request, before Park; -1: line ends before it
		stays bool
	}{
		"idle":       {asks: true, stays: true},
		"new":        {stays: true},
		"line end":   {asks: true, sends: -1, stays: true},
		"begun":      {asks: true, sends: 9},
		"begun, new": {sends: 9},
	} {
		for _, end := range []string{"moves", "goes on", "goes on late"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				t.Parallel()
				srv := &http.Server{}
				if end == "goes on late" && c.stays {
					srv.IdleTimeout, srv.ReadTimeout = timeout, timeout
				}
				one := next(t, nil, srv)
				one.set.MayPark()
				cl, rest := dial(t, one), req
				if one.await(t, "not accepted", func(n Counts) bool { return n.New == 1 }); c.asks {
					cl.ask("first")
					one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
				}
				if c.sends < 0 {
					cl.send("\r\n")
					one.await(t, "the line end is not read", func(Counts) bool { return one.unread() == 0 })
				} else if c.sends > 0 {
					cl.send(req[:c.sends])
					one.wantHeard(t, 1)
					rest = req[c.sends:]
				}
				one.set.Park()
				cl.send(rest)
				want := map[bool]string{true: "2", false: "1"}[end == "moves"]
				if c.stays {
					one.await(t, "nothing has come", func(Counts) bool { return one.unread() == len(rest) })
				} else if g := cl.want("hello"); g != "1" {
					t.Errorf("generation %s answers", g)
				}
				switch end {
				case "moves":
					one.leave(t, next(t, one, &http.Server{}))()
				case "goes on late":
					time.Sleep(2 * timeout)
					fallthrough
				default:
					one.set.Unpark()
				}
				if c.stays {
					if g := cl.want("hello"); g != want {
						t.Errorf("generation %s answers", g)
					}
				}
				if g := cl.ask("next"); g != want {
					t.Errorf("then generation %s answers", g)
				}
			})
		}
	}
}

// TestParkComesTooLate: a set that leaves parks nothing, since nobody would call Unpark. A connection that
// can't move goes on until its grace is over.
func TestParkComesTooLate(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 1), make(chan struct{})
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-end
		}
	})})
	one.set.MayPark()
	dial(t, one).send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
	cl := dial(t, one)
	// The second request comes before the client can know that the answer to the first is to be the last.
	cl.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	left := one.depart(t, func([]Ticket, []syscall.Conn) ([]bool, error) {
		return nil, errors.New("the other process is gone")
	}, time.Minute)
	one.await(t, "the handover is not over", func(Counts) bool { return one.set.leaving.Load().isOver() })
	one.set.Park()
	cl.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n")
	close(end)
	for _, what := range []string{"slow", "next"} {
		_ = cl.nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := http.ReadResponse(cl.br, nil); err != nil {
			t.Fatalf("no answer to %s: %v", what, err)
		}
	}
	one.set.Hurry(0)
	left()
}
