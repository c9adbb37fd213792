package drain_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openssl is a client that does what Go's can't: what is written to it goes to the service.
func (s *service) openssl(args ...string) *client {
	s.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		s.Skip("openssl is not installed")
	}
	pair := have(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))(s)
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer near.Close()
	defer far.Close()
	nc := have(net.FileConn(near))(s)
	args = append([]string{"s_client", "-brief", "-connect", s.address()}, args...)
	cmd := exec.CommandContext(s.Context(), path, args...)
	cmd.Stdin, cmd.Stdout = far, far
	must(s, cmd.Start())
	s.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return &client{nc, bufio.NewReader(nc)}
}

// A connection over TLS moves, or is closed at rest after IdleGrace; what it is to be, its kind says. Either way its
// requests are answered, and nothing ends a generation.
func TestWhichConnectionsOverTLSMove(t *testing.T) {
	only := func(version uint16, suite uint16) func(*service) *client {
		return func(s *service) *client {
			config := trusting(version)
			config.CipherSuites = []uint16{suite}
			c, _ := s.greet(config)
			return c
		}
	}
	plain := func(version uint16) func(*service) *client {
		return func(s *service) *client {
			config := trusting(version)
			config.Certificates = []tls.Certificate{have(tls.LoadX509KeyPair(s.plan.Cert, s.plan.Key))(s)}
			c, _ := s.greet(config)
			return c
		}
	}
	resumed := func(version uint16) func(*service) *client {
		return func(s *service) *client {
			config := trusting(version)
			s.wantVisit(config, false)
			c, again := s.greet(config)
			if !again {
				s.Error("the session is not resumed")
			}
			return c
		}
	}
	openssl := func(args ...string) func(*service) *client {
		return func(s *service) *client { return s.openssl(append(args, "-nocommands")...) }
	}
	type row struct {
		dial  func(*service) *client
		moves bool
		fault string
		debug string // GODEBUG
	}
	const tls12, tls13 = tls.VersionTLS12, tls.VersionTLS13
	each(t, map[string]row{
		"TLS 1.2, AES-128":    {dial: only(tls12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), moves: true},
		"TLS 1.2, AES-256":    {dial: only(tls12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), moves: true},
		"TLS 1.2, ChaCha20":   {dial: only(tls12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)},
		"TLS 1.2, CBC":        {dial: only(tls12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA)},
		"TLS 1.2, resumed":    {dial: resumed(tls12), moves: true},
		"TLS 1.3, AES-128":    {dial: openssl("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"), moves: true},
		"TLS 1.3, AES-256":    {dial: openssl("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"), moves: true},
		"TLS 1.3, ChaCha20":   {dial: openssl("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")},
		"TLS 1.3, retried":    {dial: openssl("-tls1_3", "-groups", "X448:P-256"), moves: true}, // HelloRetryRequest
		"TLS 1.3, resumed":    {dial: resumed(tls13), moves: true},
		"mutual TLS 1.2":      {dial: plain(tls12), fault: "client certificates"},
		"mutual TLS 1.3":      {dial: plain(tls13), fault: "client certificates"},
		"optional mutual TLS": {dial: resumed(tls13), fault: "client certificates if given"},
		"VerifyConnection":    {dial: plain(tls13), fault: "looks at connections"},
		"GetConfigForClient":  {dial: plain(tls13), fault: "a config a client"},
		"FIPS, TLS 1.2":       {dial: plain(tls12), debug: "fips140=on"},
		"FIPS, TLS 1.3":       {dial: plain(tls13), debug: "fips140=on"},
		"FIPS only, TLS 1.2":  {dial: plain(tls12), debug: "fips140=only"},
		"FIPS only, TLS 1.3":  {dial: plain(tls13), debug: "fips140=only"},
	}, func(t *testing.T, c row) {
		if c.debug == "fips140=only" && strings.HasPrefix(runtime.Version(), "go1.25") {
			t.Skip("the server of this version chooses X25519, and then may not use it")
		}
		s := start(t, tlsPlan(t, plan{Fault: c.fault, IdleGrace: 50 * time.Millisecond}),
			func(_ *service, cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GODEBUG="+c.debug) })
		conn := c.dial(s)
		defer conn.Close()
		ask := func(where *client, gen int) {
			if a, err := where.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" || a.gen != gen {
				t.Fatalf("generation %d: %+v, %v", gen, a, err)
			}
		}
		ask(conn, 1)
		for gen := 2; gen <= 3; gen++ { // the second has to hand over what it has been given
			old := s.main().PID
			if s.swap(); !c.moves {
				if b, err := conn.r.ReadByte(); err != io.EOF {
					t.Fatalf("got %q, %v; want the end", b, err)
				}
				conn.Close()
				conn = c.dial(s)
			}
			s.wantExit(old, 0)
			ask(conn, gen)
		}
		conn.Close()
		s.stop()
		s.wantNothingLost()
	})
}

// Nobody renegotiates, before a move and after it: the connection ends, and the service goes on.
func TestRenegotiationIsRefused(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	for swap := range 2 {
		c := s.openssl("-tls1_2") // where R asks for one
		if swap > 0 {
			s.swap()
		}
		if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
			t.Fatalf("%+v, %v", a, err)
		}
		_, err := io.WriteString(c, "R\n")
		must(t, err)
		if b, err := c.r.ReadByte(); err != io.EOF {
			t.Fatalf("got %q, %v; want the end", b, err)
		}
	}
	s.stop()
	s.wantNothingLost()
}
