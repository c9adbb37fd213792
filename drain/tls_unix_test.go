//go:build unix

package drain_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/testcert"
)

func (g *gen) serveTLS(ln net.Listener, srv *http.Server) error {
	switch g.Fault {
	case "client certificates":
		srv.TLSConfig = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	case "client certificates if given":
		srv.TLSConfig = &tls.Config{ClientAuth: tls.RequestClientCert}
	case "looks at connections":
		srv.TLSConfig = &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return nil }}
	case "a config a client":
		srv.TLSConfig = &tls.Config{
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil },
		}
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
		return g.svc.ServeTLS(ln, srv, "", "")
	case "no cipher fits the key":
		srv.TLSConfig = &tls.Config{
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
			MaxVersion:   tls.VersionTLS12,
		}
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
	}
	return g.svc.ServeTLS(ln, srv, g.Cert, g.Key)
}

// Every client that comes back resumes its session, whichever generation it meets, and so does one that comes
// back during the stop.
func TestSessionsAreResumedAcrossSwaps(t *testing.T) {
	each(t, map[string]uint16{
		"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13,
	}, func(t *testing.T, version uint16) {
		s := start(t, tlsPlan(t, plan{IdleGrace: time.Millisecond}))
		config := trusting(version)
		s.wantVisit(config, false)
		for range 10 {
			s.wantVisit(config, true)
			// The old one may be reached for a moment, and gives a handshake no more than its grace.
			s.wantAlone(s.swap().PID)
			s.wantVisit(config, true)
		}
		s.do("pull")
		s.wantVisit(config, true)
		s.stop()
		s.wantNothingLost()
	})
}

// The keys are there before the doors open, though the generation that had them dies first.
func TestSessionsAreResumedByAnOrphan(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	config := trusting(0)
	s.wantVisit(config, false)
	open := s.beginSwap("in Ready")
	s.kill(s.pgid)
	open()
	s.event(2, "promoted")
	s.wantVisit(config, true)
	s.stop()
}

// What a generation has agreed to may be more than the next one would, where it looks at client certificates;
// and who has keys of their own has reasons.
func TestSessionsThatEndWithTheirGeneration(t *testing.T) {
	type row struct{ before, after string }
	eachOf(t, func(t *testing.T, c row) {
		s := start(t, tlsPlan(t, plan{Fault: c.before}))
		config := trusting(0)
		config.Certificates = []tls.Certificate{have(tls.LoadX509KeyPair(s.plan.Cert, s.plan.Key))(t)}
		s.wantVisit(config, false)
		s.wantVisit(config, true)
		s.nextHas(c.after)
		s.wantAlone(s.swap().PID) // the old one may answer for a moment
		s.wantVisit(config, false)
		s.wantVisit(config, true)
		s.stop()
	}, row{"client certificates", "client certificates"}, row{"keys of its own", "keys of its own, new"})
}

// A grace that leaves no time, for connections at rest and for endless requests, is no reason to be cut off.
func TestGraceEndsInTime(t *testing.T) {
	type row struct {
		plan  plan
		stops bool
	}
	each(t, map[string]row{ // the last eighth of a DrainTimeout is all the time that a busy machine has to spare: 2s
		"a swap":               {plan: plan{KeepTLS: true, DrainTimeout: 16 * time.Second}},
		"a stop":               {plan: plan{DrainTimeout: 16 * time.Second}, stops: true},
		"too many generations": {plan: plan{KeepTLS: true, DrainTimeout: 2 * time.Hour, MaxGenerations: 2}},
	}, func(t *testing.T, c row) {
		c.plan.IdleGrace = time.Hour
		s := start(t, tlsPlan(t, c.plan))
		idle, _ := s.greet(trusting(0))
		defer idle.Close()
		var endless []*client
		for range 8 { // one alone may draw the first second of the hour
			endless = append(endless, s.join("/endless"))
		}
		switch {
		case c.stops:
			s.signal(s.pgid, term)
		case c.plan.MaxGenerations == 0:
			s.swap()
		default:
			s.swap()
			s.awaitOlder(1)
			s.signal(s.main().PID, hup)
			s.event(1, "told to leave within")
		}
		for _, c := range endless {
			s.wantGoodbye(c)
		}
		if b, err := idle.r.ReadByte(); err != io.EOF {
			t.Errorf("got %q, %v, want the end", b, err)
		}
		s.event(1, "stopped")
		s.wantExit(s.pgid, 0)
		if c.plan.MaxGenerations > 0 {
			s.event(3, "promoted")
		}
		if !c.stops {
			s.stop()
		}
		s.wantNothingLost()
	})
}

// Clients of TLS 1.2 and 1.3 keep their connections over ten swaps, whatever their think time is.
func TestConnectionsOverTLSMove(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	var dials, version atomic.Int64
	l := s.driveBy(func() (*client, error) {
		dials.Add(1)
		nc, err := net.DialTimeout(s.plan.Network, s.address(), hung)
		if err != nil {
			return nil, err
		}
		tc := tls.Client(nc, trusting(tls.VersionTLS12+uint16(version.Add(1)%2)))
		return &client{Conn: tc}, tc.Handshake()
	}, 64, 0, 40*time.Millisecond)
	for range 10 {
		s.swap()
		l.settle()
	}
	l.end()
	if n := dials.Load(); n != 64 {
		t.Errorf("64 clients have connected %d times", n)
	}
	s.stop()
	s.wantNothingLost()
}

// Where connections over TLS stay, clients with a think time below IdleGrace, which never retry, are answered over ten
// swaps and a stop.
func TestTenSwapsOverTLSLoseNothing(t *testing.T) {
	s := start(t, tlsPlan(t, plan{KeepTLS: true, IdleGrace: patient, MaxGenerations: 16}))
	l := s.drive(8, 50*time.Millisecond)
	for range 10 {
		s.swap()
		l.settle()
	}
	l.endWith(math.MaxInt)
	last := s.untilLast(8)
	s.stop()
	last()
	s.wantNothingLost()
}

// The self-check speaks TLS, to servers that want client certificates too.
func TestSelfCheckOverTLS(t *testing.T) {
	eachOf(t, func(t *testing.T, fault string) {
		s := start(t, tlsPlan(t, plan{Fault: fault}))
		s.failSwap("no cipher fits the key", "self-check", "TLS")
		s.nextHas(fault)
		s.swap()
		s.stop()
	}, "client certificates", "fussy about names")
}

func TestCertificateOfANewGeneration(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	s.wantSerial(1)
	cert, key := testcert.New(t, 2)
	put(t, s.plan.Cert, cert)
	s.failedSwap(s.plan.Cert, s.plan.Key, "does not match")
	s.wantSerial(1)
	put(t, s.plan.Key, key)
	s.wantAlone(s.swap().PID) // the old one may answer for a moment
	s.wantSerial(2)
	s.plan.Key = filepath.Join(t.TempDir(), "away")
	s.replan()
	s.failedSwap(s.plan.Key)
	s.stop()
}

func TestCertificateIsReadAnewWithoutASwap(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	cert, key := testcert.New(t, 2)
	put(t, s.plan.Cert, cert)
	s.awaitLog("the certificate stays as it was", func() { _ = s.dialTLS(trusting(0)).Close() })
	s.wantSerial(1)
	put(t, s.plan.Key, key)
	s.awaitLog("certificate reloaded", func() { _ = s.dialTLS(trusting(0)).Close() })
	s.wantSerial(2)
	log, _ := os.ReadFile(s.logFile())
	if n := strings.Count(string(log), "the certificate stays as it was"); n != 1 {
		t.Errorf("the log has it %d times", n)
	}
	s.stop()
}
