//go:build unix

package drain_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

func (g *gen) serveTLS(svc *drain.Service, ln net.Listener, srv *http.Server) error {
	switch g.Fault {
	case "client certificates":
		srv.TLSConfig = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	case "keys of its own":
		//lint:ignore SA1019 users have it still
		srv.TLSConfig = &tls.Config{SessionTicketKey: [32]byte{1}}
	case "keys of its own, new":
		//lint:ignore SA1019 users have it still
		srv.TLSConfig = &tls.Config{SessionTicketKey: [32]byte{2}}
	case "fussy about names":
		pair, err := tls.LoadX509KeyPair(g.Cert, g.Key)
		if err != nil {
			return err
		}
		srv.TLSConfig = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "test" {
				return nil, fmt.Errorf("who is %q?", hello.ServerName)
			}
			return &pair, nil
		}}
		return svc.ServeTLS(ln, srv, "", "")
	case "no cipher fits the key":
		srv.TLSConfig = &tls.Config{CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, MaxVersion: tls.VersionTLS12}
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
	}
	return svc.ServeTLS(ln, srv, g.Cert, g.Key)
}

// Every client that comes back resumes its session, whichever generation it meets, and so does one that comes
// back during the stop.
func TestSessionsAreResumedAcrossSwaps(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := start(t, tlsPlan(t, plan{IdleGrace: time.Millisecond}))
			config := trusting(version)
			made := 0
			visit := func() {
				t.Helper()
				c, resumed := s.greet(config)
				defer c.Close()
				if made++; resumed != (made > 1) {
					t.Errorf("handshake %d: resumed is %v", made, resumed)
				}
			}
			visit()
			for range 10 {
				visit()
				s.wantAlone(s.swap().PID) // the old one may be reached for a moment, and gives a handshake no more than its grace
				visit()
			}
			s.do("pull")
			visit()
			s.stop()
			s.wantNothingLost()
		})
	}
}

// Connections at rest are closed when there are too many generations, whatever grace they have: nothing is cut off.
func TestTooManyGenerationsGiveLessGrace(t *testing.T) {
	s := start(t, tlsPlan(t, plan{IdleGrace: time.Hour, DrainTimeout: 2 * time.Hour, MaxGenerations: 2}))
	c, _ := s.greet(trusting(0))
	defer c.Close()
	s.swap()
	s.awaitOlder(1)
	mark := s.mark()
	s.swap()
	s.eventSince(mark, 1, "told to leave within")
	if b, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("got %q, %v, want the end", b, err)
	}
	s.event(1, "stopped")
	s.wantExit(s.pgid, 0)
	s.stop()
	s.wantNothingLost()
}

// Nor are they cut off when they have more grace than there is time.
func TestIdleGraceEndsBeforeDrainTimeout(t *testing.T) {
	s := start(t, tlsPlan(t, plan{IdleGrace: time.Hour, DrainTimeout: 16 * time.Second}))
	c, _ := s.greet(trusting(0))
	defer c.Close()
	s.swap()
	if b, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("got %q, %v, want the end", b, err)
	}
	s.wantExit(s.pgid, 0)
	s.stop()
	s.wantNothingLost()
}

// The keys are there before the doors open, though the generation that had them dies first.
func TestSessionsAreResumedByAnOrphan(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	config := trusting(0)
	visit := func(want bool) {
		t.Helper()
		c, got := s.greet(config)
		defer c.Close()
		if got != want {
			t.Errorf("resumed is %v, want %v", got, want)
		}
	}
	visit(false)
	open := s.beginSwap("in Ready")
	s.signal(s.pgid, syscall.SIGKILL)
	s.exit(s.pgid)
	open()
	s.event(2, "promoted")
	visit(true)
	s.stop()
}

// What a generation has agreed to may be more than the next one would, where it looks at client certificates;
// and who has keys of their own has reasons.
func TestSessionsThatEndWithTheirGeneration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after string }{{"client certificates", "client certificates"},
		{"keys of its own", "keys of its own, new"}} {
		t.Run(c.before, func(t *testing.T) {
			s := start(t, tlsPlan(t, plan{Fault: c.before}))
			pair := have(tls.LoadX509KeyPair(s.plan.Cert, s.plan.Key))(t)
			config := trusting(0)
			config.Certificates = []tls.Certificate{pair}
			visit := func(when string, want bool) {
				t.Helper()
				c, got := s.greet(config)
				defer c.Close()
				if got != want {
					t.Errorf("%s: resumed is %v", when, got)
				}
			}
			visit("first", false)
			visit("second", true)
			s.nextHas(c.after)
			s.wantAlone(s.swap().PID) // the old one may answer for a moment
			visit("after a swap", false)
			visit("again", true)
			s.stop()
		})
	}
}

// Clients with a think time below IdleGrace, which never retry, are answered over ten swaps and a stop.
func TestTenSwapsOverTLSLoseNothing(t *testing.T) {
	s := start(t, tlsPlan(t, plan{IdleGrace: patient, MaxGenerations: 16}))
	var clients sync.WaitGroup
	var sent, stopping atomic.Int64
	quit := make(chan struct{})
	for i := range 8 {
		clients.Go(func() {
			for conns := 0; ; conns++ {
				c, err := dial(s)
				if err != nil {
					if stopping.Load() == 0 {
						t.Errorf("client %d: %v", i, err)
					}
					return
				}
				for last := false; !last; {
					select {
					case <-quit:
						_ = c.Close()
						return
					case <-time.After(rand.N(200 * time.Millisecond)):
					}
					body := fmt.Sprint(i, sent.Add(1))
					a, err := c.ask("POST", "/echo", body)
					if err != nil || a.body != body {
						t.Errorf("client %d: %+v, %v", i, a, err)
						return
					}
					last = a.close
				}
				_ = c.Close()
			}
		})
	}
	for range 10 {
		before := sent.Load()
		s.swap()
		for sent.Load() < before+16 && !t.Failed() {
			<-time.After(time.Millisecond)
		}
	}
	stopping.Store(1)
	s.signal(s.main().PID, syscall.SIGTERM)
	s.gone()
	close(quit)
	clients.Wait()
	s.wantNothingLost()
	t.Logf("%d requests", sent.Load())
}

// The self-check speaks TLS, to servers that want client certificates too.
func TestSelfCheckOverTLS(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"client certificates", "fussy about names"} {
		t.Run(fault, func(t *testing.T) {
			s := start(t, tlsPlan(t, plan{Fault: fault}))
			s.swap()
			s.stop()
		})
	}
	t.Run("no cipher fits the key", func(t *testing.T) {
		s := start(t, tlsPlan(t, plan{}))
		if r := s.failSwap("no cipher fits the key"); !strings.Contains(r.Err, "self-check") ||
			!strings.Contains(r.Err, "TLS") {
			t.Error(r)
		}
		s.stop()
	})
}
