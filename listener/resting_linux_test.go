package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/listener/internal/dormant"
	"github.com/baton-go/baton/listener/internal/tlsmove"
)

// lodger is a generation in which a connection rests, until its client sends something.
type lodger struct {
	*generation
	cl     *client
	state  *tlsmove.State // of one over TLS
	serve  func(from *generation, srv *http.Server) *generation
	served atomic.Int32 // connections that its server knows of
}

func newLodger(t *testing.T, secure bool) *lodger {
	t.Helper()
	was := restTick
	restTick = time.Hour
	t.Cleanup(func() { restTick = was })
	serve := func(from *generation, srv *http.Server) *generation { return next(t, from, srv) }
	if secure {
		config := certified("http/1.1")
		serve = func(from *generation, srv *http.Server) *generation { return nextTLS(t, from, srv, config) }
	}
	one := serve(nil, &http.Server{Handler: echo(1)})
	l := &lodger{serve: serve}
	if secure {
		l.cl = dialTLS(t, one)
		l.cl.ask("a")
		one.await(t, "not idle", func(now Counts) bool { return now.Idle == 1 })
	} else {
		l.cl = idle(t, one)
	}
	l.generation = serve(one, &http.Server{
		Handler:           echo(2),
		IdleTimeout:       time.Minute,
		ReadHeaderTimeout: time.Nanosecond,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				l.served.Add(1)
			}
		},
	})
	one.leave(t, l.generation)()
	l.await(t, "is not served yet", func(Counts) bool { return l.ln.(*socket).tracked.Load() })
	l.wantResting(t, true)
	l.state = l.set.all()[0].adopted.keys.Load()
	return l
}

func (l *lodger) wantWiped(t *testing.T) {
	t.Helper()
	if l.state == nil {
		return
	}
	if secrets := slices.Concat(l.state.In.Secret, l.state.Out.Secret); len(bytes.Trim(secrets, "\x00")) > 0 {
		t.Errorf("secrets are left: %x", secrets)
	}
}

func (l *lodger) wantResting(t *testing.T, want bool) {
	t.Helper()
	n := l.set.Counts()
	if rests := l.served.Load() == 0 && n.Idle == 1; rests != want || n.Open() != 1 {
		t.Fatalf("rests: %v, want %v: %+v", rests, want, n)
	}
}

// awaitHasty returns when it was tried to wake the connection, and it could not be.
func (l *lodger) awaitHasty(t *testing.T) {
	t.Helper()
	so := l.ln.(*socket)
	l.await(t, "not tried", func(Counts) bool {
		so.mu.Lock() // which nobody holds for long
		defer so.mu.Unlock()
		return so.resting.Hasty()
	})
}

func TestAnAdoptedConnectionRests(t *testing.T) {
	refuse := func(tickets []Ticket, _ []syscall.Conn) ([]bool, error) { return make([]bool, len(tickets)), nil }
	answers := func(t *testing.T, l *lodger) {
		t.Helper()
		if g := l.cl.ask("b"); g != "2" || l.served.Load() != 1 {
			t.Errorf("generation %s answers, whose server knows of %d connections", g, l.served.Load())
		}
	}
	for name, f := range map[string]func(*testing.T, *lodger){
		"until its client sends": answers,
		"and goes on without a server": func(t *testing.T, l *lodger) {
			three := l.serve(l.generation, &http.Server{Handler: echo(3)})
			l.leave(t, three)()
			l.wantWiped(t)
			if g := l.cl.ask("b"); g != "3" || l.served.Load() != 0 {
				t.Errorf("generation %s answers; the server between knows of %d", g, l.served.Load())
			}
		},
		"until the next generation refuses it": func(t *testing.T, l *lodger) {
			left := l.depart(t, refuse, time.Second)
			l.await(t, "rests", func(Counts) bool { return l.served.Load() == 1 })
			l.cl.send(post("b"))
			resp, err := http.ReadResponse(l.cl.br, nil)
			if err != nil || !resp.Close || resp.Header.Get("X-Generation") != "2" {
				t.Errorf("%v, %v; want a last answer of generation 2", resp, err)
			}
			_ = l.cl.nc.Close()
			left()
		},
		"until the next generation is gone": func(t *testing.T, l *lodger) {
			left := l.depart(t, func([]Ticket, []syscall.Conn) ([]bool, error) { return nil, errors.New("gone") }, 0)
			l.await(t, "rests", func(n Counts) bool { return l.served.Load() == 1 || n.Open() == 0 })
			left()
		},
		"until a stop": func(t *testing.T, l *lodger) {
			l.depart(t, nil, 0)()
			if n := l.set.Counts(); n.Open() != 0 || n.Lost != 0 {
				t.Errorf("%+v", n)
			}
		},
		"until the listener is closed": func(t *testing.T, l *lodger) {
			_ = l.ln.Close()
			answers(t, l)
		},
		"until all is closed": func(t *testing.T, l *lodger) {
			l.set.Close()
			if n, err := l.cl.nc.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes", n)
			}
		},
		"until its client closes it": func(t *testing.T, l *lodger) {
			_ = l.cl.nc.Close()
			l.await(t, "rests", func(n Counts) bool { return n.Open() == 0 })
		},
		"until its client resets it": func(t *testing.T, l *lodger) {
			c := l.set.all()[0]
			nc := l.cl.nc
			if tc, ok := nc.(*tls.Conn); ok {
				nc = tc.NetConn()
			}
			_ = nc.(*net.TCPConn).SetLinger(0)
			_ = nc.Close()
			l.await(t, "rests", func(n Counts) bool { return n.Open() == 0 })
			if !c.isClosed() {
				t.Error("a leave that has seen it before would offer it")
			}
		},
		"beyond the idle time, where its client sends all the same": func(t *testing.T, l *lodger) {
			c := l.set.all()[0]
			c.mu.Lock()
			c.adopted.at = time.Now().Add(-time.Hour)
			c.mu.Unlock()
			answers(t, l)
		},
		"until there are descriptors": func(t *testing.T, l *lodger) {
			full := exhaust(t)
			l.cl.send(post("b"))
			l.awaitHasty(t)
			l.wantResting(t, true)
			full()
			l.ln.(*socket).resting.Tick()
			if g := l.cl.want("b"); g != "2" {
				t.Errorf("generation %s answers", g)
			}
		},
		"until its server is closed, also without descriptors": func(t *testing.T, l *lodger) {
			full := exhaust(t)
			defer full()
			over := make(chan error, 1)
			go func() { over <- l.srv.Close() }()
			select {
			case err := <-over:
				check(t, err)
			case <-time.After(patience):
				t.Error("Accept waits for what can't be woken")
			}
			l.await(t, "rests", func(n Counts) bool { return n.Open() == 0 })
			l.wantWiped(t)
		},
		"until its descriptor is free": func(t *testing.T, l *lodger) {
			rc, err := l.set.all()[0].Conn.(*dormant.Conn).SyscallConn()
			check(t, err)
			check(t, rc.Control(func(uintptr) {
				l.cl.send(post("b"))
				l.awaitHasty(t)
			}))
			l.ln.(*socket).resting.Tick()
			if g := l.cl.want("b"); g != "2" {
				t.Errorf("generation %s answers", g)
			}
		},
		"in no group while others come": func(t *testing.T, l *lodger) {
			r := l.ln.(*socket).resting
			r.Tick()
			l.wantResting(t, true)
			r.Tick()
			l.await(t, "rests", func(Counts) bool { return l.served.Load() == 1 })
			answers(t, l)
		},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", over TLS"}[secure], func(t *testing.T) {
				before := descriptors(t)
				t.Cleanup(func() {
					for end := time.Now().Add(patience); descriptors(t) > before; time.Sleep(time.Millisecond) {
						if time.Now().After(end) {
							t.Fatalf("%d descriptors before, %d after", before, descriptors(t))
						}
					}
				})
				f(t, newLodger(t, secure))
			})
		}
	}
}

// exhaust leaves this process no descriptor until the function returned is called.
func exhaust(t *testing.T) (free func()) {
	t.Helper()
	var was unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	f, err := os.Open(os.DevNull)
	check(t, err)
	_ = f.Close()
	lim := unix.Rlimit{Cur: 0, Max: was.Max}
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
	return func() { check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was)) }
}

// A Leave that is cut off closes what rests.
func TestARestThatIsCutOff(t *testing.T) {
	l := newLodger(t, true)
	ctx, cut := context.WithCancel(context.Background())
	asked := make(chan struct{})
	over := make(chan error, 1)
	go func() {
		over <- l.set.Leave(ctx, func([]Ticket, []syscall.Conn) ([]bool, error) {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		}, time.Hour)
	}()
	<-asked
	cut()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l.set.Close()
	if n := l.set.Counts(); n.Open() != 0 {
		t.Errorf("%+v", n)
	}
}
