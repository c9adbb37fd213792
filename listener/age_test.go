//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"go/version"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// aged gives the set of a generation an age.
func aged(age time.Duration) func(net.Listener) net.Listener {
	return func(ln net.Listener) net.Listener {
		ln.(*socket).set.cfg.MaxAge = age
		return ln
	}
}

// An age is spread by a tenth, and no longer than what is left of it.
func TestAgesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct{ span, left, least, most time.Duration }{
			{0, 0, 0, 0}, {-1, 0, 0, 0}, {0, time.Minute, 0, 0},
			{time.Hour, 0, 54 * time.Minute, 66 * time.Minute},
			{time.Hour, 2 * time.Hour, 54 * time.Minute, 66 * time.Minute},
			{time.Hour, time.Minute, time.Minute, time.Minute},
			{time.Hour, time.Millisecond, time.Millisecond, time.Millisecond},
			{1, 0, 1, 1}, // shorter than a jitter can be
		} {
			least, most := time.Duration(1<<62), time.Duration(0)
			for range 1000 {
				a := age{end: endOfAge(x.span, x.left)}
				if x.most == 0 {
					if a.end != 0 || a.over() || a.left() != 0 {
						t.Errorf("%+v: ends at %v", x, a.end)
					}
					continue
				}
				rest := a.end - now()
				least, most = min(least, rest), max(most, rest)
				if want := max(1, rest.Milliseconds()); a.left() != want {
					t.Errorf("%+v: %v are left, want %v", x, a.left(), want)
				}
			}
			spread := x.most - x.least
			if x.most > 0 && (least < x.least || most > x.most || most-least < spread*9/10) {
				t.Errorf("%+v: between %v and %v", x, least, most)
			}
		}
	})
}

// oldServer is a server whose connections live for an hour, in a bubble of synctest.
type oldServer struct {
	t     testing.TB
	so    *socket
	alien chan net.Conn
}

// slowly answers with the body that it has got, each byte of it after an hour; "!" is hijacked, and echoed.
func slowly(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		nc, rw, _ := http.NewResponseController(w).Hijack()
		_, _ = io.Copy(nc, rw)
		_ = nc.Close()
		return
	}
	body, _ := io.ReadAll(r.Body)
	if r.ProtoMajor == 1 && r.Header.Get("Keep") != "" {
		w.Header().Set("Connection", "keep-alive")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	for i := range body {
		if r.Header.Get("Slow") != "" {
			http.NewResponseController(w).Flush()
			time.Sleep(time.Hour)
		}
		_, _ = w.Write(body[i : i+1])
	}
}

func (s *oldServer) dial(kind string) *client {
	near, far := net.Pipe()
	if kind == "foreign" {
		s.alien <- far
	} else if !s.so.enqueue(s.so.newConn(far)) {
		s.t.Fatal("closed")
	}
	if strings.HasSuffix(kind, "TLS") {
		near = tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	}
	return &client{s.t, near, bufio.NewReader(near)}
}

// old runs test for a server of the kind: tracked, ServeTLS, TLS, wrapped, foreign or followed.
func old(t *testing.T, kind string, test func(t *testing.T, s *oldServer)) {
	certs := certified("http/1.1")
	synctest.Test(t, func(t *testing.T) {
		set := New(Config{MaxAge: time.Hour})
		ln := mustListen(t, set, "tcp", "127.0.0.1:0") // nobody connects to it
		srv := &http.Server{Handler: http.HandlerFunc(slowly), Protocols: new(http.Protocols)}
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		var serve func()
		alien := make(chan net.Conn)
		switch kind {
		case "followed":
			f := set.Follow(ln)
			serve = func() { _ = srv.Serve(f) }
		case "ServeTLS":
			set.Track(srv)
			serve = func() { _ = set.Serve(srv, set.TLSListener(srv, ln, certs)) }
		default:
			served := ln
			switch kind {
			case "TLS":
				served = tls.NewListener(ln, certs)
			case "wrapped":
				served = limited{ln}
			case "foreign": // the server's connections are not the set's, as far as that can be seen
				served = acceptor{ln, func() (net.Conn, error) {
					if nc, ok := <-alien; ok {
						return nc, nil
					}
					return nil, net.ErrClosed
				}}
			}
			set.Track(srv)
			serve = func() { _ = set.Serve(srv, served) }
		}
		go serve()
		test(t, &oldServer{t, ln.(*socket), alien})
		close(alien)
		_ = srv.Close()
		set.Close()
		if n := set.Counts(); n.Aged != 1 && kind != "TLS" || n.Lost != 0 {
			t.Errorf("%+v", n)
		}
		time.Sleep(time.Hour) // for what hangs on to a connection
	})
}

// The first answer behind the age says that it is the last, however the connection has spent its time.
func TestTheAnswerBehindTheAgeIsTheLast(t *testing.T) {
	get := func(head, body string) string {
		return strings.Replace(post(body), "Host: x\r\n", "Host: x\r\n"+head, 1)
	}
	for name, spend := range map[string]func(c *client){
		"a request each minute": func(c *client) {
			begin := time.Now()
			for time.Since(begin) < 54*time.Minute {
				c.ask("a")
				time.Sleep(time.Minute)
			}
			for time.Since(begin) < 66*time.Minute {
				c.send(post("b"))
				resp, err := http.ReadResponse(c.br, nil)
				check(c.t, err)
				got, err := io.ReadAll(resp.Body)
				if check(c.t, err); string(got) != "b" {
					c.t.Errorf("%q", got)
				}
				if resp.Close {
					c.wantEnd()
					c.br = nil
					return
				}
				time.Sleep(time.Minute)
			}
		},
		"at rest for a day":    func(c *client) { c.ask("a"); time.Sleep(24 * time.Hour) },
		"silent for two hours": func(c *client) { time.Sleep(2 * time.Hour) },
		"a long answer":        func(c *client) { c.send(get("Slow: 1\r\n", "long")); c.want("long") },
		"a long request": func(c *client) {
			whole := post("long")
			c.send(whole[:len(whole)-2])
			time.Sleep(2 * time.Hour)
			c.send(whole[len(whole)-2:])
			c.want("long") // since its handler had begun
		},
		"requests behind it": func(c *client) {
			c.ask("a")
			time.Sleep(2 * time.Hour)
			c.send(get("", "") + get("", "") + post("last"))
			c.want("")
			c.want("")
			c.wantLast("last")
			c.br = nil
		},
		"a handler that says otherwise": func(c *client) {
			time.Sleep(2 * time.Hour)
			c.send(get("Keep: 1\r\n", "a"))
			c.want("a")
		},
	} {
		for _, kind := range []string{"tracked", "ServeTLS", "TLS", "wrapped", "foreign", "followed"} {
			unseen := name == "requests behind it" && (kind == "TLS" || kind == "foreign")
			noMatter := kind == "followed" &&
				(name == "a long request" || name == "a handler that says otherwise")
			if unseen || noMatter {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				old(t, kind, func(t *testing.T, s *oldServer) {
					c := s.dial(kind)
					if spend(c); c.br != nil {
						c.send(post("last"))
						c.wantLast("last")
					}
				})
			})
		}
	}
}

// What a handler has taken stays, and so does what has just come.
func TestHijackedConnectionsHaveNoAge(t *testing.T) {
	old(t, "tracked", func(t *testing.T, s *oldServer) {
		c, young := s.dial(""), s.dial("")
		time.Sleep(2 * time.Hour)
		c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		resp, err := http.ReadResponse(c.br, nil)
		if check(t, err); resp.Header.Get("Connection") != "Upgrade" {
			t.Errorf("%v", resp.Header)
		}
		for range 3 {
			time.Sleep(24 * time.Hour)
			c.send("word")
			if got, err := c.br.Peek(4); err != nil || string(got) != "word" {
				t.Fatalf("%q, %v", got, err)
			}
			_, _ = c.br.Discard(4)
		}
		_ = c.nc.Close()
		young.send(post("old by now"))
		young.wantLast("old by now")
		s.dial("").ask("young")
	})
}

// HTTP/2 is told behind the age, with whatever the server writes. Streams go on, and so do those that the client begins
// before it knows.
func TestHTTP2IsToldBehindTheAge(t *testing.T) {
	if version.Compare(version.Lang(runtime.Version()), "go1.26") < 0 {
		t.Skip("net/http keeps channels of HTTP/2 for other servers, so that those of a bubble get out")
	}
	for name, spend := range map[string]func(c *h2){
		"at rest": func(c *h2) { time.Sleep(24 * time.Hour); c.post(3, "next") },
		"a long stream": func(c *h2) {
			head := append(bytes.Clone(postHead), 0, 4, 's', 'l', 'o', 'w', 1, '1')
			c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 3, head)
			c.frame(0, 1, 3, []byte("next"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			old(t, "tracked", func(t *testing.T, s *oldServer) {
				cl := s.dial("")
				c := &h2{t: t, nc: cl.nc, br: cl.br, bodies: map[uint32]string{}, ended: map[uint32]bool{}}
				got := make(chan struct{})
				go func() { // a pipe has no room
					defer close(got)
					c.until(4)
				}()
				c.send([]byte(h2frame.Preface))
				c.frame(4, 0, 0, nil)
				<-got
				c.post(1, "first")
				c.wantAnswer(1, "first")
				spend(c)
				c.wantGoAway(h2frame.MaxStream)
				c.post(5, "on its way")
				c.pong()
				c.wantAnswer(5, "on its way")
				c.calm()
				c.wantGoAway(5)
				c.wantAnswer(3, "next")
				if f, err := c.read(); err == nil {
					t.Errorf("got %+v, want the end", f)
				}
			})
		})
	}
}

// A connection that moves keeps its age where both generations have one.
func TestAMovedConnectionKeepsItsAge(t *testing.T) {
	for _, x := range []struct {
		name     string
		one, two time.Duration // their Config.MaxAge
		passed   bool          // nearly all of it, until the handover
		last     bool          // the answer of two is the last
	}{
		{"young", time.Hour, time.Hour, false, false},
		{"old", time.Hour, time.Hour, true, true},
		{"old, and none from now on", time.Hour, 0, true, false},
		{"none until now", 0, time.Hour, true, false},
		{"long over", 1, time.Hour, false, true},
		{"short from now on", time.Hour, 1, false, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			one := next(t, nil, &http.Server{}, aged(x.one))
			c := dial(t, one)
			one.await(t, "not at rest", func(n Counts) bool { return n.New == 1 })
			two := next(t, one, &http.Server{}, aged(x.two))
			hand := one.handTo(two)
			one.depart(t, func(tickets []Ticket, conns []syscall.Conn) ([]bool, error) {
				for i := range tickets {
					left := time.Duration(tickets[i].Left) * time.Millisecond
					if left > x.one*11/10+time.Millisecond || x.one > 1 && left < x.one/2 {
						t.Errorf("%v are left", left)
					}
					if x.passed {
						tickets[i].Left = min(tickets[i].Left, 1)
					}
				}
				time.Sleep(time.Millisecond) // what is left is over
				return hand(tickets, conns)
			}, time.Minute)()
			if x.last {
				time.Sleep(time.Millisecond)
				c.send(post("last"))
				c.wantLast("last")
			} else {
				c.ask("a")
			}
			if n := two.set.Counts(); n.Aged != map[bool]int64{true: 1}[x.last] || n.Lost != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A request that is sent behind one whose answer is the last, against what HTTP says, does not cost the
// client that answer.
func TestTheLastAnswerArrivesWhole(t *testing.T) {
	body := strings.Repeat("x", 8<<20)
	come, goOn := make(chan context.Context), make(chan struct{})
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		come <- r.Context()
		<-goOn
		_, _ = io.WriteString(w, body)
	})}, aged(1))
	c := dial(t, one)
	c.send(post(""))
	<-come
	c.send(post("too late"))
	one.await(t, "not sent", func(Counts) bool { return one.unread() > 0 })
	close(goOn)
	c.wantLast(body)
	one.await(t, "still open", func(n Counts) bool { return n.Open() == 0 })
	if n := one.set.Counts(); n.Aged != 1 || n.Lost != 1 {
		t.Errorf("%+v, want the loss in the ledger", n)
	}
}
