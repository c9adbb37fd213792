//go:build unix

package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shortDir has a short path, as a unix socket needs.
func shortDir(t testing.TB) string {
	t.Helper()
	dir := have(os.MkdirTemp("", "b"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// sender sends datagrams to a service and hears which generation has read each.
type sender struct {
	testing.TB
	net.Conn
}

// sender's datagrams go where the service said it would answer them, at the network's first place.
func (s *service) sender(network string) *sender {
	s.Helper()
	c := have(s.dialDatagrams(network))(s)
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * hung))
	return &sender{s, c}
}

func (s *service) dialDatagrams(network string) (net.Conn, error) {
	s.Helper()
	addr := ""
	for _, r := range s.since(0) {
		at, ok := strings.CutPrefix(r.Note, "datagrams ")
		if ok && addr == "" && strings.HasPrefix(at, "/") == (network == "unixgram") {
			addr = at
		}
	}
	if network == "unixgram" {
		own := filepath.Join(shortDir(s), "c")
		return net.DialUnix(network, &net.UnixAddr{Name: own, Net: network}, &net.UnixAddr{Name: addr, Net: network})
	}
	return net.Dial(network, addr)
}

func (c *sender) send(text string) {
	c.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * hung))
	if _, err := c.Write([]byte(text)); err != nil {
		c.Fatal(err)
	}
}

// want wants the answer to the next of those that were sent, by that generation.
func (c *sender) want(gen int, text string) {
	c.Helper()
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil {
		c.Fatalf("no answer to %q: %v", text, err)
	}
	if want := fmt.Sprintf("%d %s", gen, text); string(buf[:n]) != want {
		c.Fatalf("%q; want %q", buf[:n], want)
	}
}

func eachDatagramNetwork(t *testing.T, f func(t *testing.T, network string, p plan)) {
	for _, network := range []string{"udp", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			at := "127.0.0.1:0"
			if network == "unixgram" {
				at = filepath.Join(shortDir(t), "s")
			}
			f(t, network, plan{Datagrams: [][2]string{{network, at}}})
		})
	}
}

// One generation reads, the newest, also while older ones have work to do, and where a swap fails, the one that was.
func TestDatagramsAreReadByOneGenerationAtATime(t *testing.T) {
	t.Parallel()
	eachDatagramNetwork(t, func(t *testing.T, network string, p plan) {
		s := start(t, p)
		c := s.sender(network)
		var open []func()
		var slow []*client
		for gen := 1; gen <= 3; gen++ {
			for i := range 20 {
				c.send(fmt.Sprint(i))
				c.want(gen, fmt.Sprint(i))
			}
			cl, o := s.slow(fmt.Sprint("slow", gen))
			slow, open = append(slow, cl), append(open, o)
			s.failSwap("check fails")
			c.send("still")
			c.want(gen, "still")
			s.nextHas("")
			s.swap()
		}
		c.send("newest")
		c.want(4, "newest")
		for i := range slow {
			s.finishSlow(slow[i], open[i])
		}
		s.stop()
	})
}

// Answers come from one generation until they come from the next, and each datagram is answered.
func TestDatagramsUnderLoadAcrossSwaps(t *testing.T) {
	t.Parallel()
	eachDatagramNetwork(t, func(t *testing.T, network string, p plan) {
		s := start(t, p)
		var beats [2]atomic.Int64
		quit := make(chan struct{})
		ends := make(chan error, len(beats))
		for i := range beats {
			c := s.sender(network)
			go func() {
				buf := make([]byte, 64)
				last := 0
				for n := 0; ; n++ {
					select {
					case <-quit:
						ends <- nil
						return
					default:
					}
					text, by, got := fmt.Sprint(n), 0, ""
					_ = c.SetDeadline(time.Now().Add(2 * hung))
					_, err := c.Write([]byte(text))
					m := 0
					if err == nil {
						m, err = c.Read(buf)
					}
					if err == nil {
						_, err = fmt.Sscanf(string(buf[:m]), "%d %s", &by, &got)
					}
					if err != nil || got != text || by < last {
						ends <- fmt.Errorf("datagram %s: %q, %v; the last was read by generation %d", text, buf[:m], err, last)
						return
					}
					last = by
					beats[i].Add(1)
				}
			}()
		}
		for range 6 {
			for i := range beats {
				from := beats[i].Load()
				for end := time.Now().Add(hung); beats[i].Load() == from && len(ends) == 0; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("no answers")
					}
				}
			}
			s.swap()
		}
		close(quit)
		for range beats {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
		s.stop()
	})
}

// The next generation does not begin to read before the last one's reads are over.
func TestDatagramsAreNotReadByTwo(t *testing.T) {
	s := start(t, plan{UDP: true}, atGate("holds a read"))
	s.noteSince(0, 0, "at the gate")
	open := s.opener(s.plan.Gate)
	s.nextHas("")
	s.signal(s.pgid, syscall.SIGHUP)
	s.event(2, "proven")
	time.Sleep(100 * time.Millisecond) // for a promotion that should not come
	open()
	s.event(2, "promoted")
	s.noteSince(0, s.pgid, "read over")
	s.wantOrder(noted(1, "read over"), told(2, "promoted"))
	s.stop()
}

// What is queued when a stop comes is answered.
func TestDatagramsThatAreQueuedAreAnsweredInAStop(t *testing.T) {
	t.Parallel()
	eachDatagramNetwork(t, func(t *testing.T, network string, p plan) {
		p.Fault = "slow datagrams"
		s := start(t, p)
		s.swap()
		c := s.sender(network)
		n := 50
		if network == "unixgram" {
			n = 8 // the queue may be as short as that
		}
		s.signal(s.main().PID, syscall.SIGSTOP)
		for i := range n {
			c.send(fmt.Sprint(i))
		}
		s.signal(s.main().PID, syscall.SIGTERM)
		s.signal(s.main().PID, syscall.SIGCONT)
		for i := range n {
			c.want(2, fmt.Sprint(i))
		}
		s.gone()
		s.wantExit(s.pgid, 0)
		if _, err := c.Write([]byte("late")); err == nil {
			_, err = c.Read(make([]byte, 8))
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		}
	})
}
