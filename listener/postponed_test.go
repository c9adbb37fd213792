//go:build unix

package listener

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// While connections are moved, the old process keeps its descriptors of those that have moved. Their clients notice
// nothing: where the new process closes one, its client learns of that at once. A request that is under way in the old
// process goes on, and that process ends what it has kept meanwhile.
func TestWhatHasMovedEndsHereLater(t *testing.T) {
	const clients = 200 // more than are on their way at once
	var closed atomic.Int32
	entered, finish := make(chan struct{}), make(chan struct{})
	one := next(t, nil, &http.Server{
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed.Add(1)
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(entered)
				<-finish
			}
			echo(1).ServeHTTP(w, r)
		}),
	})
	byAddress := make(map[string]*client)
	for range clients {
		c := dial(t, one)
		c.ask("a")
		byAddress[c.nc.LocalAddr().String()] = c
	}
	slow := dial(t, one)
	slow.send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ns")
	<-entered
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == clients })

	two := next(t, one, &http.Server{})
	moved, goOn := make(chan string, 1), make(chan struct{})
	var begun atomic.Bool
	handTo := one.handTo(two)
	wait := one.depart(t, func(tickets []Ticket, conns []syscall.Conn) ([]bool, error) {
		if begun.Swap(true) {
			<-goOn
			return handTo(tickets, conns)
		}
		took, err := handTo(tickets, conns)
		moved <- conns[0].(net.Conn).RemoteAddr().String()
		return took, err
	}, time.Minute)

	c := byAddress[<-moved]
	c.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nb")
	if got := c.wantAnswer("b").Header.Get("X-Generation"); got != fmt.Sprint(two.n) {
		t.Errorf("generation %s answers", got)
	}
	check(t, c.nc.SetReadDeadline(time.Now().Add(patience)))
	if n, err := c.br.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the last answer %d bytes, %v", n, err)
	}
	if n := closed.Load(); n != 0 {
		t.Errorf("the old process has ended %d connections before all have moved", n)
	}
	close(goOn)
	one.await(t, "not ended", func(n Counts) bool { return closed.Load() == clients && n.Open() == 1 })
	close(finish)
	if slow.wantAnswer("s").Header.Get("X-Generation") != "1" {
		t.Error("another generation answers")
	}
	wait()
	if n := one.set.Counts(); n.Moved != clients+1 || n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// A process that closes what has moved on a moment ago, and does not know yet that it has, ends nothing of it.
func TestClosedAsItMovesOn(t *testing.T) {
	one := next(t, nil, &http.Server{})
	c := idle(t, one)
	srv := &http.Server{}
	two := next(t, one, srv)
	one.leave(t, two)()
	c.ask("b")
	two.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
	three := next(t, two, &http.Server{})
	handTo := two.handTo(three)
	two.depart(t, func(tickets []Ticket, conns []syscall.Conn) ([]bool, error) {
		took, err := handTo(tickets, conns)
		_ = srv.Close()
		return took, err
	}, time.Minute)()
	if g := c.ask("c"); g != "3" {
		t.Errorf("generation %s answers", g)
	}
}
