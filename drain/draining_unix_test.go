//go:build unix

package drain_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// endless is a stream of events; with hijack, one on the bare connection, which outlives the handler with hijack=leave.
func (g *gen) endless(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "hello\n")
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	how := r.FormValue("hijack")
	if how == "" {
		g.sayGoodbye(w, r.Context(), drain.Context(r.Context()))
		return
	}
	nc, _, err := rc.Hijack()
	switch {
	case err != nil:
	case how == "leave":
		go func() {
			defer nc.Close()
			<-r.Context().Done()
			g.sayGoodbye(nc, context.Background(), drain.Context(r.Context()))
		}()
	default:
		defer nc.Close()
		g.sayGoodbye(nc, r.Context(), drain.Context(r.Context()))
	}
}

func (g *gen) sayGoodbye(out io.Writer, over, leave context.Context) {
	g.note("endless begun")
	select {
	case <-over.Done():
	case <-leave.Done():
		_, _ = io.WriteString(out, "goodbye\n")
		g.note("endless told")
	}
}

// join begins an endless request and waits until its handler runs, in the newest generation.
func (s *service) join(target string) *client {
	s.Helper()
	c, mark := s.connect(), s.mark()
	must(s, c.send("GET", target, ""))
	if r := s.noteSince(mark, 0, "endless begun"); r.PID == s.main().PID {
		return c
	}
	_ = c.Close() // the generation before was quicker than its end
	return s.join(target)
}

// wantGoodbye wants c to be sent the end of the stream, and closes it: what was not hijacked would be handed over.
func (s *service) wantGoodbye(c *client) {
	s.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if line == "goodbye\n" {
			_ = c.Close()
			return
		}
		if err != nil {
			s.Errorf("an endless stream ends with %v", err)
			return
		}
	}
}

func TestEndlessRequestsAreToldToEnd(t *testing.T) {
	eachOf(t, func(t *testing.T, target string) {
		s := start(t, plan{IdleGrace: 200 * time.Millisecond})
		var clients []*client
		for range 8 {
			clients = append(clients, s.join(target))
		}
		s.swap()
		s.event(1, "replaced") // a client that join closes is told, too
		later := s.join(target)
		for _, c := range clients {
			s.wantGoodbye(c)
		}
		s.event(1, "stopped")
		s.signal(s.main().PID, syscall.SIGTERM)
		s.wantGoodbye(later)
		s.wantEnd(0, "")
		s.wantNothingLost()
		s.wantOrder(told(1, "replaced"), noted(1, "endless told"), told(1, "stopped"), told(2, "draining"),
			noted(2, "endless told"), told(2, "stopped"))
	}, "/endless", "/endless?hijack=1", "/endless?hijack=leave")
}

// A session that comes back as soon as it is told to leave meets the next generation, however it is told, and also
// where the old one takes its time to close a port that the new one does not want: it accepts on the others meanwhile.
func TestSessionsThatComeBackAtOnceMeetTheNextGeneration(t *testing.T) {
	const sessions, swaps = 32, 5
	type session struct {
		plan          plan
		secure, http2 bool
		target        string
	}
	each(t, map[string]session{
		"by default":         {plan{}, true, false, "/endless"},
		"HTTP":               {plan{SessionSpread: 1}, false, false, "/endless"},
		"TLS":                {plan{SessionSpread: 1}, true, false, "/endless"},
		"HTTP/2":             {plan{SessionSpread: 1}, true, true, "/endless"},
		"RegisterOnShutdown": {plan{OnShutdown: true}, true, false, "/events"},
	}, func(t *testing.T, c session) {
		scheme, more := "http://", [][2]string{{"tcp", freePort(t)}}
		if c.secure {
			c.plan, scheme = tlsPlan(t, c.plan), "https://"
		}
		c.plan.Also = more
		s := start(t, c.plan)
		url := scheme + s.address() + c.target
		var met [swaps + 2]atomic.Int32 // by generation
		var again, over atomic.Int32
		var all sync.WaitGroup
		for range sessions {
			all.Go(func() {
				client := newHTTP2Client(t, s.address(), unchecked())
				if !c.http2 {
					client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusting(0)}
				}
				for last := 0; over.Load() == 0; {
					resp, err := client.Get(url)
					if err != nil {
						t.Error(err)
						return
					}
					gen, _ := strconv.Atoi(resp.Header.Get("X-Generation"))
					if gen <= last {
						again.Add(1)
					}
					last = gen
					met[gen].Add(1)
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			})
		}
		for gen := 1; ; gen++ {
			s.eventually("all have come", func() bool { return met[gen].Load() >= sessions })
			if gen > swaps {
				break
			}
			s.plan.Also = more[gen%2:]
			s.replan()
			s.swap()
		}
		over.Store(1)
		s.stop()
		all.Wait()
		if n := again.Load(); n > 0 {
			t.Errorf("of %d, %d met the generation that had sent them away", sessions*swaps, n)
		}
		s.wantNothingLost()
	})
}

func TestHijackedConnectionsHoldADrainUntilTheyAreClosed(t *testing.T) {
	s := start(t, plan{DrainTimeout: 2 * hung, IdleGrace: time.Millisecond})
	var held []*client
	for range 3 {
		c := s.connect()
		if a, err := c.ask("GET", "/hijack", ""); err != nil || a.body != "ok" {
			t.Fatalf("%+v, %v", a, err)
		}
		held = append(held, c)
	}
	s.swap()
	s.awaitOlder(1)
	if r := s.event(1, "replaced"); r.Open.Hijacked != 3 {
		t.Errorf("%+v; want 3 hijacked", r.Open)
	}
	_ = held[0].Close()
	s.swap() // a whole swap later it is there still
	s.awaitOlder(1)
	for _, c := range held[1:] {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.r.ReadByte(); !isTimeout(err) {
			t.Errorf("a hijacked connection is not open: %v", err)
		}
	}
	for _, r := range s.since(0) {
		if told(1, "stopped")(r) {
			t.Error("the old generation is gone")
		}
	}
	_, _ = held[1].Close(), held[2].Close()
	s.event(1, "stopped")
	s.wantExit(s.pgid, 0)
	s.stop()
	s.wantNothingLost()
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
