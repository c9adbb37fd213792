package listener

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// What a client has begun and doesn't finish holds nothing up for longer than a grace, ends without a word, and counts.
func TestWhatIsBegunHasOneGrace(t *testing.T) {
	t.Parallel()
	const head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	type counts struct{ part, junk int64 }
	for _, x := range []struct {
		name   string
		secure bool
		before bool // a request that is answered
		sends  string
		counts counts
	}{
		{"one byte", false, false, "G", counts{part: 1}},
		{"one byte behind a request", false, true, "G", counts{part: 1}},
		{"three bytes", false, true, "GET", counts{part: 1}},
		{"four bytes", false, true, "GET ", counts{part: 1}},
		{"half a head", false, true, head[:20], counts{part: 1}},
		{"all but a byte", false, false, head[:len(head)-1], counts{part: 1}},
		{"a long head", false, true, "GET /" + strings.Repeat("x", 9000), counts{part: 1}},
		{"a line end", false, true, "\r\n", counts{}},
		{"half a line end", false, true, "\r", counts{}},
		{"half of HTTP/2's preface", false, false, h2frame.Preface[:10], counts{part: 1}},
		{"the head of a TLS record", false, false, "\x16\x03\x01", counts{junk: 1}},
		{"junk", false, true, "\x00\x01\x02\x03", counts{junk: 1}},
		{"the head of a record", true, false, "\x16\x03", counts{part: 1}},
		{"half a record", true, false, "\x16\x03\x01\x02\x00abc", counts{part: 1}},
		{"the head of a record behind a request", true, true, "\x17\x03\x03", counts{part: 1}},
		{"half a record behind a request", true, true, "\x17\x03\x03\x01\x00abc", counts{part: 1}},
	} {
		for _, moves := range []bool{false, true} {
			t.Run(x.name, func(t *testing.T) {
				t.Parallel()
				const grace = 40 * time.Millisecond
				one := next(t, nil, &http.Server{})
				if x.secure {
					one = secure(t, &http.Server{}, "http/1.1")
				}
				c := dial(t, one)
				raw := c.nc
				if x.before && x.secure {
					c, w, _ := dialHolding(t, one)
					raw = w.Conn
					c.ask("a")
					one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
				} else if x.before {
					c.ask("a")
				}
				mustWrite(t, raw, x.sends)
				one.wantHeard(t, 1)
				var handover Handover
				if moves {
					handover = one.handTo(next(t, one, &http.Server{}))
				}
				begin := time.Now()
				one.depart(t, handover, grace)()
				if one.set.Counts().Moved > 0 {
					if x.sends != "\r\n" {
						t.Error("moved")
					}
					return
				}
				if took := time.Since(begin); took < grace/2 {
					t.Errorf("closed after %v", took)
				}
				_ = raw.SetReadDeadline(time.Now().Add(patience))
				if b, err := io.ReadAll(raw); len(b) > 0 && !x.secure || isTimeout(err) {
					t.Errorf("got %q, %v", b, err)
				}
				n := one.set.Counts()
				if (counts{n.Part, n.Junk}) != x.counts || n.Lost != 0 || n.CutOff != 0 {
					t.Errorf("%+v, want %+v", n, x.counts)
				}
			})
		}
	}
}

// A client that is slow to send a head, and one that is slow to shake hands, have the grace that was promised.
// A handler that takes the connection to speak HTTP/2, as golang.org/x/net/http2/h2c does, waits for the
// client's preface.
func TestHTTP2OfAHandlerHasOneGraceToBegin(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n" +
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
	for name, sends := range map[string][2]string{
		"half of the preface":                     {h2frame.Preface[:18]},
		"a preface that goes on":                  {h2frame.Preface[:18], "SM"},
		"an upgrade":                              {upgrade},
		"an upgrade, and half of the preface":     {upgrade, h2frame.Preface[:10]},
		"an upgrade, and half a frame":            {upgrade, h2frame.Preface + "\x00\x00\x06\x04"},
		"an upgrade, and its preface comes later": {upgrade + h2frame.Preface[:5], h2frame.Preface[5:12]},
	} {
		t.Run(name, func(t *testing.T) {
			taken := make(chan struct{})
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				nc, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				if r.ProtoMajor == 1 { // it is the first stream
					r.Context().Value(http.ServerContextKey).(*http.Server).ConnState(nc, http.StateActive)
				}
				close(taken)
				_, _ = io.Copy(io.Discard, rw)
				_ = nc.Close()
			})})
			c := dial(t, one)
			c.send(sends[0])
			<-taken
			wait := one.depart(t, nil, 40*time.Millisecond)
			c.send(sends[1])
			wait()
			if n := one.set.Counts(); n.Lost != 0 || n.CutOff != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A listener that nobody serves holds no departure; the ledger knows of the requests there.
func TestListenerThatNobodyServes(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		set := New(Config{})
		address := "127.0.0.1:0"
		if network == "unix" {
			address = "@baton-unserved"
		}
		ln := mustListen(t, set, network, address)
		set.Open()
		for _, says := range []string{"", "G", post("a")} {
			nc := dialTo(t, ln.Addr())
			mustWrite(t, nc, says)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := set.Leave(ctx, nil, 20*time.Millisecond); err != nil {
			t.Errorf("%s: %v, %+v", network, err, set.Counts())
		}
		if n := set.Counts(); n.Lost != 1 || n.Part != 1 || n.CutOff != 0 {
			t.Errorf("%s: %+v", network, n)
		}
		set.Close()
	}
}

func TestHeadThatIsFinishedInTheGraceIsAnswered(t *testing.T) {
	whole := post("slow")
	for _, moves := range []bool{false, true} {
		for _, cut := range []int{1, 3, 4, 20, strings.Index(whole, "\r\n\r\n") + 2} {
			one := next(t, nil, &http.Server{})
			c := dial(t, one)
			c.ask("a")
			c.send(whole[:cut])
			one.wantHeard(t, 1)
			var handover Handover
			if moves {
				handover = one.handTo(next(t, one, &http.Server{}))
			}
			wait := one.depart(t, handover, time.Hour)
			c.send(whole[cut:])
			if !moves {
				c.wantLast("slow")
			} else if g := c.want("slow"); g != "1" {
				t.Errorf("generation %s answers", g)
			}
			wait()
			if n := one.set.Counts(); n.Lost+n.Part+n.Junk != 0 {
				t.Errorf("%+v", n)
			}
		}
	}
}

// A client that drips keeps nothing open: bytes of a head, records, line ends.
func TestDrippingEndsWithTheGrace(t *testing.T) {
	const grace = 60 * time.Millisecond
	for name, drip := range map[string]string{"head": "x", "records": "\x16\x03\x01\x00\x01x", "line ends": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			one := next(t, nil, &http.Server{})
			if name == "records" {
				one = secure(t, &http.Server{}, "http/1.1")
			}
			c := dial(t, one)
			one.await(t, "not accepted", func(n Counts) bool { return n.Open() == 1 })
			if name == "head" {
				c.send("GET /")
			}
			begin := time.Now()
			wait := one.depart(t, nil, grace)
			stop := make(chan struct{})
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(grace / 20):
						_, _ = io.WriteString(c.nc, drip)
					}
				}
			}()
			wait()
			close(stop)
			if took := time.Since(begin); took > patience/2 {
				t.Errorf("took %v", took)
			}
			if n := one.set.Counts(); n.Lost != 0 || n.CutOff != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A body on its way to a handler is a request in flight.
func TestBodyIsNoHead(t *testing.T) {
	entered := make(chan struct{}) // before Leave begins, or the answer would say that it is the last
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		echo(1).ServeHTTP(w, r)
	})})
	c := dial(t, one)
	whole := post("body")
	c.send(whole[:len(whole)-2])
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left := make(chan error, 1)
	go func() { left <- one.set.Leave(ctx, nil, time.Millisecond) }()
	witness := time.After(50 * time.Millisecond)
	select {
	case err := <-left:
		t.Fatalf("left: %v", err)
	case <-witness:
	}
	c.send(whole[len(whole)-2:])
	c.want("body")
	check(t, <-left)
}

// Who is cut off is in the ledger, with what it was, and once.
func TestCutOffIsInTheLedger(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	entered := make(chan struct{}, 8)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		switch r.URL.Path {
		case "/hijack":
			_, _, _ = http.NewResponseController(w).Hijack()
			return
		case "/changed":
			r.RequestURI, r.Method = "", "" // as for a client's request
		}
		<-stuck
	})
	for _, x := range []struct {
		sends        string
		method, path string
		lost         int64
	}{
		{"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/a", 1},
		{"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "POST", "/b", 1},
		{"PUT /changed HTTP/1.1\r\nHost: x\r\n\r\n", "PUT", "/changed", 1},
		{"GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/hijack", 0},
		{"GET /" + strings.Repeat("x", 3000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
			"GET", "/" + strings.Repeat("x", 199) + "…", 1},
	} {
		one := next(t, nil, &http.Server{Handler: handler})
		var book ledger
		book.of(one)
		c := dial(t, one)
		c.send(x.sends)
		<-entered
		if x.lost == 0 {
			one.await(t, "not hijacked", func(n Counts) bool { return n.Hijacked == 1 })
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = one.set.Leave(ctx, nil, time.Hour)
		one.set.Close()
		one.set.Close()
		all := book.all()
		if len(all) != 1 || all[0].Kind != LostCutOff || all[0].Method != x.method ||
			all[0].Path != x.path || all[0].Age <= 0 {
			t.Errorf("%.30q: %+v", x.sends, all)
		}
		if n := one.set.Counts(); n.Lost != x.lost || n.CutOff != 1 {
			t.Errorf("%.30q: %+v", x.sends, n)
		}
	}
}

// Requests that were sent before a stop are answered, however many of them, and whatever of them has been read.
func TestPipelinedRequestsAreAnswered(t *testing.T) {
	const many = 300
	for _, n := range []int{2, 10, many} {
		for _, how := range []string{"stop", "swap"} {
			for _, body := range []bool{false, true} {
				entered, release := make(chan struct{}, many), make(chan struct{})
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					entered <- struct{}{}
					<-release
					_, _ = io.WriteString(w, r.URL.Path)
				})
				one := next(t, nil, &http.Server{Handler: handler})
				c := dial(t, one)
				one.await(t, "not accepted", func(n Counts) bool { return n.New == 1 })
				request := "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
				if body {
					request = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
				}
				c.send(strings.Repeat(request, n))
				<-entered
				var handover Handover
				if how == "swap" {
					taker := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.WriteString(w, "/x")
					})
					handover = one.handTo(next(t, one, &http.Server{Handler: taker}))
				}
				wait := one.depart(t, handover, time.Hour)
				close(release)
				for i := range n {
					resp, err := http.ReadResponse(c.br, nil)
					if err != nil {
						t.Fatalf("%s, body %v: answer %d of %d: %v", how, body, i+1, n, err)
					}
					if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "/x" {
						t.Fatalf("answer %d: %q, %v", i+1, b, err)
					}
					if resp.Close && i < n-1 {
						t.Fatalf("%s, body %v: answer %d of %d is the last; %+v", how, body, i+1, n, one.set.Counts())
					}
				}
				wait()
				if counts := one.set.Counts(); counts.Lost != 0 {
					t.Errorf("%s: %+v", how, counts)
				}
			}
		}
	}
}

// Who goes on and on has one grace. What is not answered then counts, and the answers until then arrive.
func TestPipeliningWithoutEndIsCounted(t *testing.T) {
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
	})})
	c := dial(t, one)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for next := "GE"; ; next = strings.Repeat("T /x HTTP/1.1\r\nHost: x\r\n\r\nGE", 50) {
			if _, err := io.WriteString(c.nc, next); err != nil { // the server never has a whole number of requests
				return
			}
		}
	}()
	if _, err := c.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	wait := one.depart(t, nil, 20*time.Millisecond)
	for last := false; !last; {
		resp, err := http.ReadResponse(c.br, nil)
		if err != nil {
			t.Fatalf("before an answer that says it is the last: %v", err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		last = resp.Close
	}
	wait()
	<-sent
	if n := one.set.Counts(); n.Lost+n.Part != 1 { // a part, if the server was quicker than the client
		t.Errorf("%+v", n)
	}
}
