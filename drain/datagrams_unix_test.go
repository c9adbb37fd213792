//go:build unix

package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	eachOf(t, func(t *testing.T, network string) {
		at := "127.0.0.1:0"
		if network == "unixgram" {
			at = filepath.Join(shortDir(t), "s")
		}
		f(t, network, plan{Datagrams: [][2]string{{network, at}}})
	}, "udp", "unixgram")
}

// One generation reads, the newest, also while older ones have work to do, and where a swap fails, the one that was.
func TestDatagramsAreReadByOneGenerationAtATime(t *testing.T) {
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
	eachDatagramNetwork(t, func(t *testing.T, network string, p plan) {
		s := start(t, p)
		l := s.askDatagrams(network)
		for range 6 {
			l.settle()
			s.swap()
		}
		l.end()
		s.stop()
	})
}

// datagramLoad is clients that send one datagram after another and want each answered, by no generation before the one
// that has answered last.
type datagramLoad struct {
	s       *service
	quit    chan struct{}
	clients sync.WaitGroup
	beats   [2]atomic.Int64
	failed  atomic.Bool
}

func (s *service) askDatagrams(network string) *datagramLoad {
	s.Helper()
	l := &datagramLoad{s: s, quit: make(chan struct{})}
	for i := range l.beats {
		c := s.sender(network)
		l.clients.Go(func() {
			if err := l.client(c, &l.beats[i]); err != nil {
				l.failed.Store(true)
				s.Error(err)
			}
		})
	}
	return l
}

func (l *datagramLoad) client(c *sender, beats *atomic.Int64) error {
	buf := make([]byte, 64)
	last := 0
	for n := 0; !isClosed(l.quit); n++ {
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
			return fmt.Errorf("datagram %s: %q, %v; the last was read by generation %d", text, buf[:m], err, last)
		}
		last = by
		beats.Add(1)
	}
	return nil
}

// settle waits until each client has been through a whole exchange from now on.
func (l *datagramLoad) settle() {
	l.s.Helper()
	for i := range l.beats {
		from := l.beats[i].Load()
		l.s.eventually("answers to datagrams", func() bool { return l.beats[i].Load() >= from+2 || l.failed.Load() })
	}
}

func (l *datagramLoad) end() {
	l.s.Helper()
	l.settle()
	close(l.quit)
	l.clients.Wait()
}

// The next generation does not begin to read before the last one's reads are over.
func TestDatagramsAreNotReadByTwo(t *testing.T) {
	s, open := startAt(t, "holds a read", plan{UDP: true})
	s.noteSince(0, 0, "at the gate")
	s.signal(s.pgid, syscall.SIGHUP)
	s.event(2, "proven")
	<-time.After(100 * time.Millisecond) // in which the promotion would come that should not
	open()
	s.event(2, "promoted")
	s.noteSince(0, s.pgid, "read over")
	s.wantOrder(noted(1, "read over"), told(2, "promoted"))
	s.stop()
}

// What is queued when a stop comes is answered.
func TestDatagramsThatAreQueuedAreAnsweredInAStop(t *testing.T) {
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
