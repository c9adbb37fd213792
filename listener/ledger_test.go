//go:build linux

package listener

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// ledger collects entries and uses the set while it is at it, as a callback may.
type ledger struct {
	mu     sync.Mutex
	losses []Loss
}

func (l *ledger) of(g *generation) {
	g.set.cfg.OnLoss = func(loss Loss) {
		g.set.Counts()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.losses = append(l.losses, loss)
	}
}

func (l *ledger) all() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Loss(nil), l.losses...)
}

func TestLedgerHasWhatWasClosedUnread(t *testing.T) {
	stuck := make(chan struct{})
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck })})
	t.Cleanup(func() { close(stuck) })
	var book ledger
	book.of(one)
	lost, clean := dial(t, one), dial(t, one)
	lost.send("GET /?secret HTTP/1.1\r\nHost: x\r\n\r\n")
	one.await(t, "no request", func(n Counts) bool { return n.Active == 1 && n.New == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		left <- one.set.Leave(ctx, func(t []Ticket, _ []syscall.Conn) ([]bool, error) {
			return make([]bool, len(t)),
				nil
		}, time.Hour)
	}()
	one.await(t, "listener still open", func(Counts) bool { return len(one.set.Listeners()) == 0 })
	lost.send("POST / HTTP/1.1\r\n")
	one.await(t, "no bytes", func(Counts) bool { return one.unread() >= 16 })
	cancel()
	<-left
	if n := one.set.Close(); n.Active != 1 || n.New != 1 {
		t.Errorf("cut off: %+v", n)
	}
	losses := book.all()
	if n := one.set.Counts(); len(losses) != 1 || n.Lost != 1 || n.CutOff != 1 {
		t.Fatalf("ledger: %+v, %+v", losses, one.set.Counts())
	}
	if age := losses[0].Age; age <= 0 || age > patience {
		t.Errorf("age %v", age)
	}
	losses[0].Age = 0
	want := Loss{Kind: LostCutOff, Listener: one.ln.(*socket).key, Remote: lost.nc.LocalAddr().String(),
		Unread: 17, Method: "GET", Path: "/"}
	if losses[0].Unread == 16 { // net/http's background read was there before the departure
		want.Unread = 16
	}
	if losses[0] != want {
		t.Errorf("got %+v, want %+v", losses[0], want)
	}
	_ = clean
}

// It is closed here with bytes in it, but they are the next generation's to read.
func TestLedgerHasNoMovedConnection(t *testing.T) {
	one := next(t, nil, &http.Server{})
	var book ledger
	book.of(one)
	c := idle(t, one)
	held := make(chan []*os.File, 1)
	two := next(t, one, &http.Server{})
	var tickets []Ticket
	one.depart(t, func(tt []Ticket, conns []syscall.Conn) ([]bool, error) {
		tickets = tt
		held <- dups(t, conns)
		c.send(post("b"))
		one.await(t, "no bytes", func(Counts) bool { return one.unread() > 0 })
		return []bool{true}, nil
	}, 0)()
	if n := one.set.Counts(); n.Lost != 0 || n.Moved != 1 || len(book.all()) != 0 {
		t.Errorf("%+v", n)
	}
	check(t, two.set.Adopt(tickets, <-held, func([]bool) error { return nil }))
	if g := c.want("b"); g != "2" {
		t.Errorf("generation %s answers", g)
	}
}

// The answer was given and said that it is the last: what the client still sends of a body that nobody wanted
// is no request.
func TestLedgerHasNoAnsweredRequest(t *testing.T) {
	t.Parallel()
	one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})})
	var book ledger
	book.of(one)
	c := dial(t, one)
	one.await(t, "not accepted", func(n Counts) bool { return n.New == 1 })
	wait := one.depart(t, nil, time.Hour)
	go func() {
		const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
		_, _ = io.WriteString(c.nc, head+strings.Repeat("x", 1000000))
	}()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%v, %v", resp, err)
	}
	wait()
	if n := one.set.Counts(); n.Lost != 0 {
		t.Errorf("%+v %+v", n, book.all())
	}
}

// Its grace is over and the request lies in the socket, while the server is looking elsewhere.
func TestUnreadRequestIsServedAtClosingTime(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle := idle(t, one)
	asked, sent := make(chan struct{}), make(chan struct{})
	wait := one.depart(t, func(tickets []Ticket, _ []syscall.Conn) ([]bool, error) {
		close(asked)
		<-sent
		return make([]bool, len(tickets)), nil
	}, 0)
	<-asked
	idle.send(post("last"))
	one.await(t, "no bytes", func(Counts) bool { return one.unread() > 0 })
	close(sent)
	idle.wantLast("last")
	wait()
	if n := one.set.Counts(); n.Lost != 0 || n.Moved != 0 {
		t.Errorf("%+v", n)
	}
}

// A client that has sent something and reset the connection has no address any more.
func TestAdoptedConnectionWithoutPeer(t *testing.T) {
	raw := mustOpen(t, "tcp", "127.0.0.1:0")
	near, err := net.Dial("tcp", raw.Addr().String())
	check(t, err)
	far, err := raw.Accept()
	check(t, err)
	defer far.Close()
	mustWrite(t, near, "GET /")
	for sockopt.Unread(far) == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = near.(*net.TCPConn).SetLinger(0)
	_ = near.Close()
	set := New(Config{})
	ln := mustListen(t, set, "tcp", "127.0.0.1:0")
	tickets := []Ticket{{Listener: set.Listeners()[0], Idle: true}}
	var took []bool
	_ = set.Adopt(tickets, dups(t, []syscall.Conn{far.(*net.TCPConn)}), func(tt []bool) error { took = tt; return nil })
	if took[0] {
		nc, err := ln.Accept()
		check(t, err)
		unread := sockopt.Unread(nc.(interface{ NetConn() net.Conn }).NetConn())
		t.Log("taken: remote", nc.RemoteAddr(), "unread", unread)
	}
	set.Close() // must not panic
}
