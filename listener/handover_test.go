//go:build unix

package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baton-go/baton/drain/draintest"
)

func TestIdleAndNewConnectionsMove(t *testing.T) {
	one := next(t, nil, &http.Server{})
	idle, fresh := dial(t, one), dial(t, one)
	idle.ask("a")
	one.await(t, "not at rest", func(n Counts) bool { return n.Idle == 1 && n.New == 1 })
	two := next(t, one, &http.Server{})
	one.leave(t, two)()
	for _, c := range []*client{idle, fresh} {
		if g := c.ask("b"); g != "2" {
			t.Errorf("generation %s answers", g)
		}
	}
	if n := two.set.Counts(); n.Adopted != 2 {
		t.Errorf("%+v", n)
	}
}

// Each way to send a request in two parts with the swap between them: whoever has read the first part must read the
// second. The first part may end where net/http's buffer is empty although it has consumed a line.
func TestRequestInTwoHalvesStays(t *testing.T) {
	req := post("hello")
	for cut := 1; cut < len(req); cut++ {
		t.Run(fmt.Sprintf("%q", req[max(0, cut-5):cut]), func(t *testing.T) {
			for _, before := range []string{"", "new"} {
				one := next(t, nil, &http.Server{})
				c := dial(t, one)
				if before == "" {
					c.ask("first")
					one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
				}
				c.send(req[:cut])
				one.wantHeard(t, 1)
				two := next(t, one, &http.Server{})
				wait := one.leave(t, two)
				c.send(req[cut:])
				if g := c.want("hello"); g != "1" {
					t.Errorf("generation %s answers", g)
				}
				wait()
				if g := c.ask("next"); g != "2" {
					t.Errorf("then generation %s answers", g)
				}
			}
		})
	}
}

// A pipelined request whose beginning came with the one before: net/http has it in its buffer, or has
// consumed lines of it.
func TestPipelinedHalfStays(t *testing.T) {
	req := post("hello")
	for cut := 0; cut <= len(req); cut++ {
		t.Run(fmt.Sprintf("%q", req[max(0, cut-5):cut]), func(t *testing.T) {
			release := make(chan struct{})
			entered := make(chan struct{}, 2)
			one := next(t, nil, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-release
				echo(1).ServeHTTP(w, r)
			})})
			c := dial(t, one)
			c.send(post("first") + req[:cut])
			<-entered
			two := next(t, one, &http.Server{})
			wait := one.leave(t, two)
			close(release)
			c.want("first")
			c.send(req[cut:] + post("third"))
			c.want("hello")
			c.want("third")
			wait()
		})
	}
}

// Clients that cut and pipeline at random, through generations that follow each other as fast as they can.
func TestNothingIsLostAtAnyCut(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		cutAnywhere(t, func(from *generation) *generation { return next(t, from, &http.Server{}) }, nil)
	})
	t.Run("TLS", func(t *testing.T) { // the client's records are cut, too
		var dials atomic.Uint64
		cutAnywhere(t, func(from *generation) *generation { return nextTLS(t, from, &http.Server{}, nil) },
			func(nc net.Conn) (net.Conn, error) {
				n := dials.Add(1)
				c := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12 + uint16(n%2)}
				tc := tls.Client(&choppy{nc, rand.New(rand.NewPCG(1, n))}, c)
				return tc, tc.Handshake()
			})
	})
}

// choppy writes in pieces of random lengths.
type choppy struct {
	net.Conn
	rnd *rand.Rand
}

func (c *choppy) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = c.Conn.Write(p[n : n+1+c.rnd.IntN(len(p)-n)])
		n += k
	}
	return n, err
}

func cutAnywhere(t *testing.T, next func(*generation) *generation, over func(net.Conn) (net.Conn, error)) {
	const clients, rounds = 16, 300
	gen := next(nil)
	load := &draintest.Load{Keep: clients, Client: draintest.Client{Addr: gen.ln.Addr().String(), Timeout: patience, Blind: true}}
	if over != nil {
		load.Client.Dial = func() (net.Conn, error) {
			nc, err := net.Dial("tcp", load.Client.Addr)
			if err != nil {
				return nil, err
			}
			return over(nc)
		}
	}
	load.Ask = func(c *draintest.Client, i, round int) (a draintest.Answer, err error) {
		rnd := rand.New(rand.NewPCG(uint64(i), uint64(round)))
		var bodies []string
		var stream bytes.Buffer
		for range 1 + rnd.IntN(3) {
			bodies = append(bodies, fmt.Sprintf("%d/%d %s", i, round, strings.Repeat("x", rnd.IntN(3)*rnd.IntN(4000))))
			stream.WriteString(post(bodies[len(bodies)-1]))
		}
		for err == nil && stream.Len() > 0 {
			err = c.Send(stream.Next(1 + rnd.IntN(stream.Len())))
		}
		for _, body := range bodies {
			if err == nil {
				if a, err = c.Receive(nil); err == nil {
					err = a.Want([]byte(body))
				}
			}
		}
		return a, err
	}
	load.Start(context.Background())
	defer load.Stop()
	swaps := 0
	for ; load.Counts().Requests < clients*rounds; swaps++ {
		two := next(gen)
		gen.leave(t, two)()
		gen = two
	}
	if n := load.Stop(); len(n.Failed)+n.Reconnects > 0 {
		t.Error(n)
	}
	t.Logf("%d rounds of %d clients through %d generations", rounds, clients, swaps)
	if swaps < 3 {
		t.Errorf("only %d generations: the test shows nothing", swaps)
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
