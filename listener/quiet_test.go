//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// wantLast reads a response which says that it is the last, and then the end of the connection.
func (c *client) wantLast(body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("no response to %.20q: %v", body, err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		c.t.Fatalf("response to %.20q: %.20q, %v", body, got, err)
	}
	if !resp.Close {
		c.t.Errorf("response to %.20q does not close the connection", body)
	}
	c.wantEnd()
}

func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Errorf("got %q, %v, want the end of the connection", b, err)
	}
}

// wantClosed reads the end of a connection on which nothing more was said.
func (c *client) wantClosed() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err == nil {
		rest, _ := io.ReadAll(c.br)
		c.t.Errorf("got %q, want the end of the connection", string(b)+string(rest))
	}
}

func TestQuietCloseAnswersALastRequest(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle, fresh := dial(t, one), dial(t, one)
	idle.ask("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
	wait := one.depart(t, nil, time.Minute)
	for _, c := range []*client{idle, fresh} {
		c.send(post("last"))
		c.wantLast("last")
	}
	wait()
}

func TestQuietCloseEndsConnectionsAtRestAfterTheGrace(t *testing.T) {
	for _, grace := range []time.Duration{0, 20 * time.Millisecond} {
		one := next(t, nil, &http.Server{})
		idle, fresh := dial(t, one), dial(t, one)
		idle.ask("a")
		one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
		start := time.Now()
		one.depart(t, nil, grace)()
		if d := time.Since(start); d < grace/2 {
			t.Errorf("closed after %v, want %v at least", d, grace/2)
		}
		idle.wantEnd()
		fresh.wantEnd()
		if n := one.set.Counts(); n.Lost != 0 {
			t.Errorf("%+v", n)
		}
	}
}

// Who is hurried still answers what comes in time; more grace, or Hurry before Leave, changes nothing.
func TestHurryShortensTheGrace(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle, fresh, busy := dial(t, one), dial(t, one), dial(t, one)
	idle.ask("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 2 })
	whole := post("slow")
	first, rest := whole[:len(whole)-2], whole[len(whole)-2:]
	busy.send(first)
	one.await(t, "not heard", func(n Counts) bool { return n.Active == 1 })
	wait := one.depart(t, nil, time.Hour)
	one.set.Hurry(10 * time.Millisecond)
	one.set.Hurry(time.Minute)
	idle.wantEnd()
	fresh.wantEnd()
	busy.send(rest)
	busy.wantAnswer("slow") // its handler may have begun before Leave, or after it
	wait()
	if n := one.set.Counts(); n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A generation that is replaced in the moment in which it is told to hurry may not have begun to leave.
func TestHurryBeforeLeaveHolds(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle := dial(t, one)
	idle.ask("a")
	one.set.Hurry(10 * time.Millisecond)
	one.set.Hurry(time.Minute)
	wait := one.depart(t, nil, time.Hour)
	idle.wantEnd()
	wait()
}

// unread is the number of bytes that nobody has read from the connections of g.
func (g *generation) unread() (n int) {
	for _, c := range g.set.all() {
		c.mu.Lock() // one that is dormant gets another Conn
		n += sockopt.Unread(c.Conn)
		c.mu.Unlock()
	}
	return n
}

func TestRequestInFlightIsFinished(t *testing.T) {
	entered, release := make(chan context.Context, 1), make(chan struct{})
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- r.Context()
		<-release
		echo(1).ServeHTTP(w, r)
	})})
	c := dial(t, one)
	c.send(post("a"))
	ctx := <-entered
	wait := one.depart(t, nil, 0)
	if err := ctx.Err(); err != nil {
		t.Errorf("the context of a request in flight: %v", err)
	}
	close(release)
	c.want("a")
	wait()
	c.wantEnd()
}

// 10 MB each way, half of it before the departure. With a handover the connection moves when it is done.
func TestSlowTransfersCrossTheDeparture(t *testing.T) {
	const size = 10 << 20
	block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	for _, moves := range []bool{false, true} {
		for _, direction := range []string{"up", "down"} {
			t.Run(fmt.Sprintf("%s/moves=%v", direction, moves), func(t *testing.T) {
				ended := make(chan error, 1)
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if direction == "up" {
						n, err := io.Copy(io.Discard, r.Body)
						ended <- errors.Join(err, r.Context().Err())
						_, _ = fmt.Fprint(w, n)
						return
					}
					w.Header().Set("Content-Length", fmt.Sprint(size))
					for range size / len(block) {
						if _, err := w.Write(block); err != nil {
							ended <- err
							return
						}
					}
					ended <- r.Context().Err()
				})
				one := next(t, nil, &http.Server{Handler: handler})
				c := dial(t, one)
				var handover Handover
				var two *generation
				if moves {
					one.await(t, "not accepted", func(n Counts) bool { return n.Open() == 1 }) // or two would
					two = next(t, one, &http.Server{})
					handover = one.handTo(two)
				}
				var wait func()
				if direction == "up" {
					c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
					for i := range size / len(block) {
						if i == size/len(block)/2 {
							one.await(t, "busy reading", func(n Counts) bool {
								return n.Active == 1 && one.unread() == 0
							})
							wait = one.depart(t, handover, 0)
						}
						c.send(string(block))
					}
					c.want(fmt.Sprint(size))
				} else {
					c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
					resp, err := http.ReadResponse(c.br, nil)
					check(t, err)
					for i := range size / len(block) {
						if i == size/len(block)/2 {
							wait = one.depart(t, handover, 0)
						}
						if _, err := io.ReadFull(resp.Body, make([]byte, len(block))); err != nil {
							t.Fatalf("block %d: %v", i, err)
						}
					}
				}
				if err := <-ended; err != nil {
					t.Errorf("handler: %v", err)
				}
				wait()
				if moves {
					if g := c.ask("next"); g != "2" {
						t.Errorf("generation %s answers", g)
					}
				} else {
					c.wantEnd()
				}
			})
		}
	}
}

func TestHijackedConnectionIsWaitedFor(t *testing.T) {
	for _, moves := range []bool{false, true} {
		hijacked := make(chan net.Conn, 1)
		one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
			}
			_, _ = rw.WriteString("HTTP/1.1 200 OK\r\n\r\n")
			_ = rw.Flush()
			hijacked <- nc
		})})
		c := dial(t, one)
		c.send("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n")
		nc := <-hijacked
		if _, err := http.ReadResponse(c.br, &http.Request{Method: http.MethodConnect}); err != nil {
			t.Fatal(err)
		}
		lines := make(chan string, 1)
		go func() { // tunnels are read while the departure rouses whoever reads
			defer close(lines)
			br := bufio.NewReader(nc)
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					if err != io.EOF {
						t.Errorf("hijacked reader: %v", err)
					}
					return
				}
				lines <- line
			}
		}()
		var handover Handover
		if moves {
			handover = one.handTo(next(t, one, &http.Server{}))
		}
		wait := one.depart(t, handover, 0)
		for range 3 {
			for _, c := range one.set.all() {
				c.interruptRead()
			}
			c.send("ping\n")
			if line := <-lines; line != "ping\n" {
				t.Errorf("got %q", line)
			}
		}
		if n := one.set.Counts(); n.Hijacked != 1 || n.Open() != 1 {
			t.Errorf("%+v", n)
		}
		_ = c.nc.(*net.TCPConn).CloseWrite()
		<-lines
		if n := one.set.Counts(); n.Open() != 1 {
			t.Errorf("not closed by its owner, yet %+v", n)
		}
		_ = nc.Close()
		wait()
	}
}

// No thousand clients come back within the same millisecond, nor has any less than half of the grace for its streams.
func TestFarewellIsSpread(t *testing.T) {
	for name, x := range map[string]struct{ grace, gap time.Duration }{
		"a thousand a second": {time.Minute, time.Millisecond},
		"half of the grace":   {120 * time.Millisecond, 200 * time.Microsecond},
		"no grace":            {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &drainer{}
				d.grace.Store(int64(x.grace))
				var conns []*conn
				for range 300 {
					c := &conn{}
					c.http2.by.Store(new(h2drain.Conn))
					conns = append(conns, c, &conn{}) // and one that is no HTTP/2
				}
				var told atomic.Int32
				d.spreadGoAway(conns, func(*h2drain.Conn, time.Duration) { told.Add(1) })
				time.Sleep(x.gap / 2)
				synctest.Wait()
				for want := 1; want <= 300 && x.gap > 0; want++ {
					if got := int(told.Load()); got != want {
						t.Fatalf("%d told, want %d", got, want)
					}
					time.Sleep(x.gap)
				}
				if got := int(told.Load()); got != 300 {
					t.Errorf("%d told, want all", got)
				}
			})
		})
	}
}
