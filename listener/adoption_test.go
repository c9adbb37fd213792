//go:build unix

package listener

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// noted is a connection that notes which read deadlines it is given, relative to the time of the call.
type noted struct {
	*net.TCPConn
	mu   sync.Mutex
	last time.Duration // 0: none
	at   time.Time
}

func (d *noted) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = 0
	if !t.IsZero() {
		d.last = time.Until(t)
	}
	d.at = t
	return d.TCPConn.SetReadDeadline(t)
}

func (d *noted) now() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// adoptee returns a client and its connection, which g has adopted as idle or new, and serves.
func adoptee(t testing.TB, g *generation, idle bool) (*client, *conn, *noted) {
	t.Helper()
	cl, c, d := adopted(t, g, idle)
	g.await(t, "not served", func(n Counts) bool { return n.Idle+n.New == 1 })
	return cl, c, d
}

// adopted is adoptee, but for a connection that may end before anybody has looked.
func adopted(t testing.TB, g *generation, idle bool) (*client, *conn, *noted) {
	t.Helper()
	cl, far := pair(t)
	d := &noted{TCPConn: far}
	so := g.ln.(*socket)
	c := &conn{Conn: d, set: g.set, sock: so, adopted: adoption{at: time.Now()}}
	c.adopted.idle.Store(idle)
	if !so.enqueue(c) {
		t.Fatal("closed")
	}
	return cl, c, d
}

func setDeadlines(c *conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadlines.calls
}

func about(d, want time.Duration) bool { return d > want-time.Minute && d < want+time.Minute }

// Hours, so that none comes into play: what counts is which one is set.
func TestAdoptedIdleConnectionLivesByTheIdleTimeout(t *testing.T) {
	const idle, header, read = 3 * time.Hour, 5 * time.Hour, 7 * time.Hour
	for _, x := range []struct {
		name               string
		idle, header, read time.Duration
		rests, begun       time.Duration // deadline before and after the first byte
	}{
		{"all", idle, header, read, idle, header},
		{"no header timeout", idle, 0, read, idle, read},
		{"no idle timeout", 0, header, read, read, header},
		{"idle only", idle, 0, 0, idle, 0},
		{"header only", 0, header, 0, 0, header},
		{"none", 0, 0, 0, 0, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			body := make(chan time.Duration, 1)
			var d *noted
			var mu sync.Mutex
			one := next(t, nil, &http.Server{
				IdleTimeout: x.idle, ReadHeaderTimeout: x.header, ReadTimeout: x.read,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					body <- d.now()
					mu.Unlock()
					echo(1).ServeHTTP(w, r)
				}),
			})
			mu.Lock()
			cl, c, dd := adoptee(t, one, true)
			d = dd
			mu.Unlock()
			one.await(t, "not waiting", func(Counts) bool { return x.header+x.read == 0 || setDeadlines(c) > 0 })
			one.await(t, "deadline at rest", func(Counts) bool { return about(d.now(), x.rests) || d.now() == x.rests })
			for round := range 2 { // the second is a request like any other
				cl.send("POST / HTTP/1.1\r\n")
				one.wantHeard(t, 1)
				one.await(t, "deadline of the header", func(Counts) bool {
					return about(d.now(), x.begun) || d.now() == x.begun
				})
				cl.send("Host: x\r\nContent-Length: 1\r\n\r\n")
				if got := <-body; !about(got, x.read) && got != x.read {
					t.Errorf("round %d, body: %v, want %v", round, got, x.read)
				}
				cl.send("b")
				cl.want("b")
				one.await(t, "deadline at rest", func(n Counts) bool {
					return n.Idle == 1 && (about(d.now(), x.rests) || d.now() == x.rests)
				})
			}
		})
	}
}

// net/http counts ReadTimeout from when it got the connection, which for an adopted one may be hours ago.
func TestAdoptedConnectionHasItsReadTimeoutFromItsFirstByte(t *testing.T) {
	const read = 2 * time.Hour
	for _, h2c := range []bool{false, true} {
		reached, proceed := make(chan struct{}), make(chan struct{})
		srv := &http.Server{ReadTimeout: read, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(reached)
			<-proceed
		})}
		if h2c {
			srv.Protocols = new(http.Protocols)
			srv.Protocols.SetHTTP1(true)
			srv.Protocols.SetUnencryptedHTTP2(true)
		}
		one := next(t, nil, srv)
		cl, c, d := adoptee(t, one, true)
		// With h2c, Go 1.25 sets no deadline before it has looked for the preface.
		one.await(t, "not waiting", func(Counts) bool { return h2c || setDeadlines(c) > 0 })
		sent := time.Now()
		cl.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
		<-reached
		d.mu.Lock()
		got := d.at
		d.mu.Unlock()
		if got.Before(sent.Add(read)) || got.After(time.Now().Add(read)) {
			t.Errorf("h2c %v: until %v after it was sent, want %v", h2c, got.Sub(sent), read)
		}
		close(proceed)
	}
}

func TestIdleTimeoutEndsAnAdoptedConnection(t *testing.T) {
	one := next(t, nil, &http.Server{IdleTimeout: 50 * time.Millisecond, ReadHeaderTimeout: time.Hour})
	cl, _, _ := adopted(t, one, true)
	cl.wantEnd()
}

func TestHandlersSetTheirOwnDeadlines(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		for _, leaving := range []bool{false, true} {
			entered, proceed := make(chan struct{}), make(chan struct{})
			errs := make(chan error, 1)
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				soon := time.Now().Add(30 * time.Millisecond)
				if err := http.NewResponseController(w).SetReadDeadline(soon); err != nil {
					t.Error(err)
				}
				close(entered)
				<-proceed
				_, err := io.ReadAll(r.Body)
				errs <- err
			})})
			cl, _, _ := adoptee(t, one, adopted)
			cl.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
			<-entered
			if leaving {
				one.depart(t, nil, time.Hour)
			}
			close(proceed)
			if err := <-errs; !isTimeout(err) {
				t.Errorf("adopted %v, leaving %v: %v, want a timeout", adopted, leaving, err)
			}
		}
	}
}

// Whoever reads, a departure that wants its attention isn't seen as a timeout.
func TestDepartureIsNoTimeoutForHandlers(t *testing.T) {
	type key struct{}
	states := make(chan http.ConnState, 100)
	entered := make(chan context.Context, 1)
	proceed := make(chan struct{})
	one := next(t, nil, &http.Server{
		ConnState: func(_ net.Conn, s http.ConnState) { states <- s },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, key{}, "mine")
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- r.Context()
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("body: %v", err)
			}
			<-proceed // with net/http's own read in the background
			_, _ = fmt.Fprintf(w, "%s %s %d %v",
				body, r.Context().Value(key{}), Requests(r.Context()), r.Context().Err())
		}),
	})
	cl := dial(t, one)
	cl.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhal")
	ctx := <-entered
	two := next(t, one, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, Requests(r.Context()))
	})})
	wait := one.depart(t, one.handTo(two), time.Hour)
	rouse := func() {
		for range 20 {
			for _, c := range one.set.all() {
				c.interruptRead()
			}
			time.Sleep(time.Millisecond) // more chances to go wrong, nothing is decided by it
		}
	}
	rouse()
	cl.send("f-half.")
	one.await(t, "body unread", func(Counts) bool { return one.unread() == 0 })
	rouse()
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	close(proceed)
	cl.want("half-half. mine 1 <nil>")
	wait()
	for _, want := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateClosed} {
		if got := <-states; got != want {
			t.Errorf("state %v, want %v", got, want)
		}
	}
	for _, want := range []string{"2", "3"} { // one at least before it came
		cl.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		cl.want(want)
	}
}

// A client that goes away while a handler works is noticed, also during a departure that hands over.
func TestClientThatGoesAwayCancelsTheRequest(t *testing.T) {
	entered := make(chan context.Context, 1)
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- r.Context()
		<-r.Context().Done()
	})})
	cl := dial(t, one)
	cl.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	wait := one.depart(t, one.handTo(next(t, one, &http.Server{})), time.Hour)
	_ = cl.nc.Close()
	wait()
}

// Some users set deadlines in their hook; a connection is at rest all the same.
func TestUsersHookMaySetDeadlines(t *testing.T) {
	one := next(t, nil, &http.Server{ConnState: func(nc net.Conn, s http.ConnState) {
		if s == http.StateIdle {
			_ = nc.SetReadDeadline(time.Now().Add(time.Hour))
		}
	}})
	cl := idle(t, one)
	one.depart(t, one.handTo(next(t, one, &http.Server{})), time.Hour)()
	cl.ask("b")
}
