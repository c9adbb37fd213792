package listener

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Old clients send a line end behind the body of a POST. It is nothing: the connection rests, moves, and costs its
// client nothing, in whichever generation the line end arrives, and whether it comes with the request or later.
func TestLineEndBehindARequestIsNothing(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\n\n"} {
		for _, how := range []string{"together", "later", "in halves", "after the move"} {
			t.Run(how, func(t *testing.T) {
				one := next(t, nil, &http.Server{})
				c := dial(t, one)
				switch sent := post("a"); how {
				case "together":
					c.send(sent + end)
					c.want("a")
				case "later":
					c.send(sent)
					c.want("a")
					c.send(end)
				case "in halves":
					c.send(sent + end[:1])
					c.want("a")
					c.send(end[1:])
				default:
					c.send(sent)
					c.want("a")
				}
				one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 && one.unread() == 0 })
				two := next(t, one, &http.Server{})
				one.leave(t, two)()
				if n := one.set.Counts(); n.Moved != 1 || n.Part+n.Junk != 0 {
					t.Errorf("%q: %+v", end, n)
				}
				if how == "after the move" {
					c.send(end)
					two.await(t, "not read", func(Counts) bool { return two.unread() == 0 })
				}
				if g := c.ask("b"); g != "2" {
					t.Errorf("generation %s answers", g)
				}
			})
		}
	}
}

// With nobody to hand it over to, a line end is nothing either; what else came in the packet of the last
// request is what it is, under a wrapper too.
func TestWhatCameBehindARequestIsCountedAsWhatItIs(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		behind     string
		part, junk int64
	}{
		{"\r\n", 0, 0}, {"\n", 0, 0}, {"\r", 0, 0},
		{"G", 1, 0}, {"GET", 1, 0}, {"GET / HT", 1, 0}, {"\r\nGET / HTTP/1.1\r\nHost:", 1, 0},
		{"GET / HTTP/1.1\r\n", 1, 0}, {"GET /" + strings.Repeat("x", 1000), 1, 0},
		{"\x00", 0, 1}, {"\xff\xfe\x00", 0, 1}, {"\x16\x03\x01", 0, 1}, {"\x00\x01\x02\x03\x04\x05\x06\x07\x08", 0, 1},
		{"\r\n\xff", 0, 1}, {strings.Repeat("\x01", 100), 0, 1},
	} {
		for _, how := range []string{"retired", "closed by the server", "cut off"} {
			t.Run(how, func(t *testing.T) {
				t.Parallel()
				srv, want := &http.Server{}, x
				if how == "closed by the server" {
					srv.IdleTimeout, srv.ReadHeaderTimeout = 500*time.Millisecond, 500*time.Millisecond
				}
				one := next(t, nil, srv)
				c := dial(t, one)
				c.send(post("a") + x.behind)
				resp, err := http.ReadResponse(c.br, nil)
				check(t, err)
				_, _ = io.ReadAll(resp.Body)
				one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
				switch how {
				case "retired":
					one.depart(t, nil, 20*time.Millisecond)()
				case "closed by the server":
					one.depart(t, nil, time.Hour)()
				default:
					ctx, cancel := context.WithCancel(context.Background())
					left := make(chan error)
					go func() { left <- one.set.Leave(ctx, nil, time.Hour) }()
					one.await(t, "listener still open", func(Counts) bool { return len(one.set.Listeners()) == 0 })
					cancel()
					<-left
					one.set.Close()
				}
				// net/http says 400 to what is no whole line when its time is over.
				if b, _ := io.ReadAll(c.br); len(b) > 0 {
					want.part, want.junk = 0, 0
				}
				if n := one.set.Counts(); n.Lost+n.CutOff != 0 || n.Part != want.part || n.Junk != want.junk {
					t.Errorf("%.20q: %+v", x.behind, n)
				}
			})
		}
	}
}

// So is what came in the packet of a request whose answer is the last.
func TestWhatCameBehindTheLastRequestIsCounted(t *testing.T) {
	for _, x := range []struct {
		behind     string
		part, junk int64
	}{
		{"", 0, 0}, {"\r\n", 0, 0}, {"\n", 0, 0},
		{"G", 1, 0}, {"GET", 1, 0}, {"GET / HT", 1, 0}, {"\r\nGE", 1, 0}, {"GET /" + strings.Repeat("x", 1000), 1, 0},
		{"\x00", 0, 1}, {"\xff\xfe\x00", 0, 1},
	} {
		for _, before := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", post("abc")} {
			release := make(chan struct{})
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					<-release
				}
			})})
			c := dial(t, one)
			c.send(before + "GET /last HTTP/1.1\r\nHost: x\r\n\r\n" + x.behind)
			one.await(t, "not active", func(n Counts) bool { return n.Active == 1 && one.unread() == 0 })
			wait := one.depart(t, nil, time.Hour)
			close(release)
			for _, last := range []bool{false, true} {
				if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.Close != last {
					t.Fatalf("%.20q: %+v, %v", x.behind, resp, err)
				}
			}
			wait()
			if n := one.set.Counts(); n.Lost+n.CutOff != 0 || n.Part != x.part || n.Junk != x.junk {
				t.Errorf("%.20q behind %.20q: %+v", x.behind, before, n)
			}
		}
	}
}

// What the server has answered, if only by saying that it is malformed, is not lost.
func TestAnsweredMalformedHeadIsNotLost(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		for _, before := range []bool{false, true} {
			for _, head := range []string{
				"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
				"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", "\x00\x01\r\n", "nonsense\r\n",
				"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: none\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\nmore that nobody reads",
				"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 9000) + "\r\n\r\n",
			} {
				srv := &http.Server{MaxHeaderBytes: 1}
				one, dials := next(t, nil, srv), dial
				if encrypted {
					one, dials = secure(t, &http.Server{MaxHeaderBytes: 1}, "http/1.1"), dialTLS
				}
				c := dials(t, one)
				if before {
					c.ask("a")
				}
				one.await(t, "not there", func(n Counts) bool { return n.Open() == 1 && (!before || n.Idle == 1) })
				wait := one.depart(t, nil, time.Hour)
				c.send(head)
				resp, err := http.ReadResponse(c.br, nil)
				if err != nil || resp.StatusCode < 400 {
					t.Errorf("%.60q: %v, %v", head, resp, err)
				}
				wait()
				if n := one.set.Counts(); n.Lost+n.CutOff+n.Part+n.Junk != 0 {
					t.Errorf("TLS %v, behind a request %v, %.60q: %+v", encrypted, before, head, n)
				}
			}
		}
	}
	t.Run("HTTP to TLS", func(t *testing.T) {
		one := secure(t, &http.Server{}, "http/1.1")
		c := dial(t, one)
		one.await(t, "not there", func(n Counts) bool { return n.Open() == 1 })
		wait := one.depart(t, nil, time.Hour)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%v, %v", resp, err)
		}
		wait()
		if n := one.set.Counts(); n.Lost+n.CutOff+n.Part+n.Junk != 0 {
			t.Errorf("%+v", n)
		}
	})
}
