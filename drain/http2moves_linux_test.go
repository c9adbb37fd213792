package drain_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Clients of HTTP/2 over TLS keep their connections over ten swaps, whatever their think time is, to
// the next generation and back to one of before.
func TestHTTP2OverTLSMoves(t *testing.T) {
	s := start(t, tlsPlan(t, plan{IdleGrace: patient, DrainTimeout: 2 * hung}))
	const clients, swaps = 16, 10
	var all []*http2Client
	var stop atomic.Bool
	var asked atomic.Int64
	var running sync.WaitGroup
	for i := range clients {
		c := newHTTP2Client(s, s.address(), trusting(tls.VersionTLS12+uint16(i%2)))
		all = append(all, c)
		must(t, c.ask("first"))
		running.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if err := c.ask(strings.Repeat(fmt.Sprint(i, " ", n, " "), 1+n%5*3000)); err != nil {
					t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				asked.Add(1)
				time.Sleep(time.Duration(i%4*n%3) * 5 * time.Millisecond)
			}
		})
	}
	for range swaps {
		old := s.main().PID
		s.swap()
		s.wantExit(old, 0)
	}
	s.failSwap("check fails")
	stop.Store(true)
	running.Wait()
	for i, c := range all {
		if n := c.dials.Load(); n != 1 {
			t.Errorf("client %d has connected %d times", i, n)
		}
	}
	t.Logf("%d requests", asked.Load())
	s.stop()
	s.wantNothingLost()
}

// With Config.KeepTLS, connections of HTTP/2 over TLS are told to leave, and nothing is lost.
func TestHTTP2OverTLSStaysWithKeepTLS(t *testing.T) {
	s := start(t, tlsPlan(t, plan{KeepTLS: true}))
	c := newHTTP2Client(s, s.address(), trusting(0))
	must(t, c.ask("a"))
	old := s.main().PID
	s.swap()
	s.wantExit(old, 0)
	must(t, c.ask("b"))
	if n := c.dials.Load(); n != 2 {
		t.Errorf("%d dials, want one for each generation", n)
	}
	s.stop()
	s.wantNothingLost()
}

// withSecrets returns a client of HTTP/2 whose secrets go to log.
func (s *service) withSecrets(version uint16, log *bytes.Buffer) *http2Client {
	config := trusting(version)
	config.KeyLogWriter = log
	c := newHTTP2Client(s, s.address(), config)
	must(s, c.ask("hello"))
	return c
}
