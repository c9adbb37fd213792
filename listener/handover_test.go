//go:build unix

package listener

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
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
// second. The first part may end where net/http's buffer is empty although it has consumed a line, and in a record of
// TLS. It is the first of a connection, a later one, or comes on a connection that was moved.
func TestRequestInTwoHalvesStays(t *testing.T) {
	for i, w := range tongues() {
		t.Run(w.name, func(t *testing.T) {
			s, clients := newSerials(t), 0
			one := w.next(t, nil, s)
			join := func() (both []*cutter) {
				for range 2 {
					clients++
					both = append(both, w.dial(t, one, s, clients))
				}
				return both
			}
			var moved []*cutter
			for cut, longest := 1+i%stride, 2+i%stride; cut < longest; cut += stride {
				idle := join()
				for _, c := range idle {
					c.again()
				}
				resting := append(moved, idle...)
				one.await(t, "not at rest", func(n Counts) bool { return n.Idle == len(resting) })
				all := append(resting, join()...)
				bodies := make([]string, len(all))
				for i, c := range all {
					bodies[i] = s.body(c.n, "hello")
					req := post(bodies[i])
					if i%2 == 0 {
						c.keep(req)
					} else {
						c.keep(req[:len(req)/3], req[len(req)/3:])
					}
					longest = max(longest, len(c.held))
					c.release(t, min(cut, len(c.held)-1))
				}
				one.wantCut(t, len(all))
				two := w.next(t, one, s)
				wait := one.leave(t, two)
				for i, c := range all {
					c.release(t, len(c.held))
					if g := c.want(bodies[i]); g != fmt.Sprint(one.n) {
						t.Errorf("cut at %d, client %d: generation %s answers, not %d", cut, i, g, one.n)
					}
				}
				wait()
				for i, c := range all {
					if g := c.again(); g != fmt.Sprint(two.n) {
						t.Errorf("cut at %d, client %d: then generation %s answers, not %d", cut, i, g, two.n)
					}
				}
				for _, c := range all[len(all)-2:] {
					_ = c.nc.Close()
				}
				for _, c := range moved {
					_ = c.nc.Close()
				}
				moved, one = idle, two
			}
			t.Logf("%d generations", one.n)
		})
	}
}

// A pipelined request whose beginning came with the one before: net/http has it in its buffer, or has
// consumed lines of it, and crypto/tls may have a part of a record.
func TestPipelinedHalfStays(t *testing.T) {
	for i, w := range tongues() {
		t.Run(w.name, func(t *testing.T) {
			s := newSerials(t)
			for cut, longest := i%stride, 1+i%stride; cut < longest; cut += stride {
				entered, release := make(chan struct{}, 8), make(chan struct{})
				one := w.next(t, nil, s, func(h http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						entered <- struct{}{}
						<-release
						h.ServeHTTP(w, r)
					})
				})
				var bodies [2][3]string
				var all [2]*cutter
				for i := range all {
					c := w.dial(t, one, s, 2*cut+i)
					var reqs [3]string
					for j := range reqs {
						bodies[i][j] = s.body(c.n, "hello")
						reqs[j] = post(bodies[i][j])
					}
					first, more := 0, 0
					if i == 0 { // a record ends in a request
						at := min(cut, len(reqs[1]))
						first = c.keep(reqs[0]+reqs[1][:at], reqs[1][at:]+reqs[2])
					} else { // a request ends in a record
						first = c.keep(reqs[:]...)
						more = min(cut, len(c.held)-first)
						longest = max(longest, len(c.held)-first+1)
					}
					c.release(t, first+more)
					all[i] = c
				}
				for range all {
					<-entered
				}
				wait := one.leave(t, w.next(t, one, s))
				close(release)
				for i, c := range all {
					c.want(bodies[i][0])
					c.release(t, len(c.held))
					c.want(bodies[i][1])
					c.want(bodies[i][2])
				}
				wait()
				for _, c := range all {
					c.again()
				}
			}
		})
	}
}

// Clients that cut and pipeline at random, through generations that follow each other as fast as they can. One of them
// has large bodies.
func TestNothingIsLostAtAnyCut(t *testing.T) {
	const clients, rounds = 16, 100 / stride
	large := strings.Repeat("x", 1<<20)
	for _, w := range tongues() {
		t.Run(w.name, func(t *testing.T) {
			s := newSerials(t)
			gen := w.next(t, nil, s)
			address := gen.ln.Addr().String()
			load := &draintest.Load{
				Keep:   clients,
				Client: draintest.Client{Addr: address, Timeout: patience, Blind: true},
			}
			load.Client.Dial = func() (net.Conn, error) {
				nc, err := net.Dial("tcp", address)
				if err != nil {
					return nil, err
				}
				return w.over(torn{nc})
			}
			load.Ask = func(c *draintest.Client, i, round int) (a draintest.Answer, err error) {
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(round)))
				var bodies []string
				var stream bytes.Buffer
				for range 1 + rnd.IntN(3) {
					more := large
					if i > 0 {
						more = strings.Repeat("x", rnd.IntN(3)*rnd.IntN(4000))
					}
					bodies = append(bodies, s.body(i, more))
					stream.WriteString(post(bodies[len(bodies)-1]))
				}
				sent := make(chan error, 1)
				go func() { // who answers need not wait to be read
					var err error
					for err == nil && stream.Len() > 0 {
						err = c.Send(stream.Next(1 + rnd.IntN(stream.Len())))
					}
					sent <- err
				}()
				for _, body := range bodies {
					if err == nil {
						if a, err = c.Receive(nil); err == nil {
							err = a.Want([]byte(body))
						}
					}
				}
				return a, errors.Join(err, <-sent)
			}
			load.Start(context.Background())
			defer load.Stop()
			swaps := 0
			for ; load.Counts().Requests < clients*rounds; swaps++ {
				two := w.next(t, gen, s)
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
		})
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

// Each offer has one answer, also one that comes as the handover ends.
func TestOfferThatComesAsTheHandoverEnds(t *testing.T) {
	for round := range 200 {
		d := newDrainer(New(Config{}))
		var taken, took atomic.Int32
		var takers, offers sync.WaitGroup
		for range handoverWorkers {
			takers.Go(func() {
				for !d.isOver() {
					for _, o := range d.collect(nil) {
						taken.Add(1)
						d.answer(o, true)
					}
					runtime.Gosched()
				}
			})
		}
		for range 32 {
			offers.Go(func() {
				c := &conn{Conn: &net.TCPConn{}}
				for range 8 {
					if d.offer(c, nil) {
						took.Add(1)
					}
				}
			})
		}
		for int(taken.Load()) < round { // of 256
			runtime.Gosched()
		}
		d.end()
		offers.Wait()
		takers.Wait()
		if taken.Load() != took.Load() || d.moving.Load() != 0 || !d.offers.isEmpty() || len(d.pending) > 0 {
			t.Fatalf("%d taken, %d told so, %d offers under way", taken.Load(), took.Load(), d.moving.Load())
		}
	}
}
