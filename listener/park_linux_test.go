package listener

import (
	"net/http"
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
