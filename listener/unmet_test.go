//go:build unix

package listener

import (
	"bufio"

	"net"
	"net/http"
	"testing"
	"time"
)

// sorting keeps the connections that it accepts, in order, for the test; the server gets none.
func sorting(kept chan<- net.Conn) func(net.Listener) net.Listener {
	return func(ln net.Listener) net.Listener {
		return acceptor{ln, func() (net.Conn, error) {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return nil, err
				}
				kept <- nc
			}
		}}
	}
}

// Whom another server behind the same socket has answered, or whose words it may understand, is its own; who
// has said nothing there is let go. Nobody need read from that connection, or close it.
func TestOthersOfASocketGoOn(t *testing.T) {
	for _, how := range []string{"stop", "swap"} {
		t.Run(how, func(t *testing.T) {
			kept := make(chan net.Conn, 3)
			one := next(t, nil, &http.Server{}, sorting(kept))
			greeted, asks, silent := dial(t, one), dial(t, one), dial(t, one)
			var conns [3]net.Conn
			for i := range conns {
				conns[i] = <-kept
			}
			byAddr := func(c *client) net.Conn {
				for _, nc := range conns {
					if nc.RemoteAddr().String() == c.nc.LocalAddr().String() {
						return nc
					}
				}
				t.Fatal("not accepted")
				return nil
			}
			mustWrite(t, byAddr(greeted), "220 hello\n")
			asks.send("x\n")
			if line, err := bufio.NewReader(byAddr(asks)).ReadString('\n'); err != nil || line != "x\n" {
				t.Fatal(line, err)
			}
			if n := one.set.Counts(); n.Other != 2 || n.New != 1 {
				t.Errorf("%+v", n)
			}
			var handover Handover
			if how == "swap" {
				handover = one.handTo(next(t, one, &http.Server{}))
			}
			wait := one.depart(t, handover, 20*time.Millisecond)
			if how == "swap" {
				if g := silent.ask("x"); g != "2" {
					t.Errorf("generation %s answers", g)
				}
			} else {
				silent.wantEnd()
			}
			one.await(t, "the silent one is there", func(n Counts) bool { return n.Open() == 2 })
			for _, c := range []*client{greeted, asks} {
				c.send("y\n")
				nc := byAddr(c)
				if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || line != "y\n" {
					t.Error(line, err)
				}
				_ = nc.Close()
			}
			wait()
			if n := one.set.Counts(); n.Lost+n.CutOff+n.Part+n.Junk != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// What the one who accepts reads himself can be nobody else's, whatever it is; a request that he holds is waited for.
func TestJunkInAcceptHasOneGrace(t *testing.T) {
	for _, x := range []struct {
		says string
		part int64
		junk int64
	}{{"\x00", 0, 1}, {"PROXY TCP", 1, 0}, {"\x16\x03", 1, 0}, {"GET / HTTP/1.1\r\nHo", 1, 0}} {
		read := make(chan struct{}, 1)
		one := next(t, nil, &http.Server{}, func(ln net.Listener) net.Listener {
			return wrapping{ln, func(nc net.Conn) net.Conn {
				br := bufio.NewReader(nc)
				_, _ = br.Peek(1)
				read <- struct{}{}
				_, _ = br.Peek(100)
				return ahead{nc, br}
			}}
		})
		c := dial(t, one)
		c.send(x.says)
		<-read
		one.depart(t, nil, 20*time.Millisecond)()
		c.wantClosed()
		if n := one.set.Counts(); n.Lost+n.CutOff != 0 || n.Part != x.part || n.Junk != x.junk {
			t.Errorf("%q: %+v", x.says, n)
		}
	}
}
