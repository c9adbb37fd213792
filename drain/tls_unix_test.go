//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
		srv.TLSConfig = &tls.Config{SessionTicketKey: [32]byte{1}}
	case "keys of its own, new":
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

// Every client that comes back resumes its session, whichever generation it meets, and so does one that comes back during
// the stop.
func TestSessionsAreResumedAcrossSwaps(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			s := start(t, tlsPlan(t, plan{IdleGrace: time.Millisecond}))
			sessions := tls.NewLRUClientSessionCache(1)
			made := 0
			visit := func() {
				t.Helper()
				tc, err := s.dialTLS(version, sessions)
				if err != nil {
					t.Fatal(err)
				}
				defer tc.Close()
				c := &client{tc, bufio.NewReader(tc)}
				if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" { // TLS 1.3 gets its ticket by reading
					t.Fatalf("%+v, %v", a, err)
				}
				if made++; tc.ConnectionState().DidResume != (made > 1) {
					t.Errorf("handshake %d: resumed is %v", made, tc.ConnectionState().DidResume)
				}
			}
			visit()
			for range 10 {
				visit()
				s.swap()
				visit()
			}
			s.do("health pull")
			visit()
			s.stop()
			s.wantNothingLost()
		})
	}
}

// What a generation has agreed to may be more than the next one would, where it looks at client certificates; and who has
// keys of their own has reasons.
func TestSessionsThatEndWithTheirGeneration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after string }{{"client certificates", "client certificates"}, {"keys of its own", "keys of its own, new"}} {
		t.Run(c.before, func(t *testing.T) {
			t.Parallel()
			s := start(t, tlsPlan(t, plan{Fault: c.before}))
			pair, err := tls.LoadX509KeyPair(s.plan.Cert, s.plan.Key)
			if err != nil {
				t.Fatal(err)
			}
			config := &tls.Config{
				InsecureSkipVerify: true, ServerName: "test", Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			visit := func(when string, want bool) {
				t.Helper()
				tc, err := tls.Dial("tcp", s.address(), config)
				if err != nil {
					t.Fatal(err)
				}
				defer tc.Close()
				c := &client{tc, bufio.NewReader(tc)}
				if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
					t.Fatalf("%+v, %v", a, err)
				}
				if got := tc.ConnectionState().DidResume; got != want {
					t.Errorf("%s: resumed is %v", when, got)
				}
			}
			visit("first", false)
			visit("second", true)
			s.plan.Fault = c.after
			s.replan()
			s.swap()
			visit("after a swap", false)
			visit("again", true)
			s.stop()
		})
	}
}

func TestServeTLSSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	s := start(t, tlsPlan(t, plan{}))
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport}).Get("https://" + s.address() + "/whoami")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	transport.CloseIdleConnections()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
	s.stop()
}

// Clients with a think time below IdleGrace, which never retry, are answered over ten swaps and a stop.
func TestTenSwapsOverTLSLoseNothing(t *testing.T) {
	t.Parallel()
	s := start(t, tlsPlan(t, plan{IdleGrace: 600 * time.Millisecond, MaxGenerations: 16}))
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

func TestCertificateOfANewGeneration(t *testing.T) {
	t.Parallel()
	s := start(t, tlsPlan(t, plan{}))
	if n := s.serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	cert, key := newPair(t, 2)
	put(t, s.plan.Cert, cert)
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGHUP)
	r := s.eventSince(mark, 1, "swap failed")
	if !strings.Contains(r.Err, s.plan.Cert) || !strings.Contains(r.Err, s.plan.Key) || !strings.Contains(r.Err, "does not match") {
		t.Errorf("%q; want the files and why", r.Err)
	}
	if n := s.serial(); n != 1 {
		t.Errorf("certificate %d of the old generation", n)
	}
	put(t, s.plan.Key, key)
	s.swap()
	if n := s.serial(); n != 2 {
		t.Errorf("certificate %d of the new generation", n)
	}
	s.plan.Key = filepath.Join(t.TempDir(), "away")
	s.replan()
	mark = s.mark()
	s.signal(s.main().PID, syscall.SIGHUP)
	if r := s.eventSince(mark, 2, "swap failed"); !strings.Contains(r.Err, s.plan.Key) {
		t.Errorf("%q; want the file that is missing", r.Err)
	}
	s.stop()
}

func TestCertificateIsReadAnewWithoutASwap(t *testing.T) {
	t.Parallel()
	s := start(t, tlsPlan(t, plan{}))
	cert, key := newPair(t, 2)
	put(t, s.plan.Cert, cert)
	s.awaitLog("the certificate stays as it was", func() { s.serial() })
	if n := s.serial(); n != 1 {
		t.Errorf("certificate %d while its key is missing", n)
	}
	put(t, s.plan.Key, key)
	s.awaitLog("certificate read anew", func() { s.serial() })
	if n := s.serial(); n != 2 {
		t.Errorf("certificate %d", n)
	}
	log, _ := os.ReadFile(s.logFile())
	if n := strings.Count(string(log), "the certificate stays as it was"); n != 1 {
		t.Errorf("the log has it %d times", n)
	}
	s.stop()
}

// awaitLog repeats what it is given until the log has the text.
func (s *service) awaitLog(text string, again func()) {
	s.Helper()
	for timeout := time.After(hung); ; {
		if log, _ := os.ReadFile(s.logFile()); strings.Contains(string(log), text) {
			return
		}
		select {
		case <-timeout:
			s.Fatalf("the log never has %q", text)
		case <-time.After(20 * time.Millisecond):
			again()
		}
	}
}

// The self-check speaks TLS, to servers that want client certificates too.
func TestSelfCheckOverTLS(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"client certificates", "fussy about names"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := start(t, tlsPlan(t, plan{Fault: fault}))
			s.swap()
			s.stop()
		})
	}
	t.Run("no cipher fits the key", func(t *testing.T) {
		t.Parallel()
		s := start(t, tlsPlan(t, plan{}))
		s.plan.Fault = "no cipher fits the key"
		s.replan()
		mark := s.mark()
		s.signal(s.pgid, syscall.SIGHUP)
		if r := s.eventSince(mark, 1, "swap failed"); !strings.Contains(r.Err, "self-check") || !strings.Contains(r.Err, "TLS") {
			t.Error(r)
		}
		s.stop()
	})
}
