//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/testcert"
)

// put replaces a file.
func put(t testing.TB, path string, text []byte) {
	t.Helper()
	err := os.WriteFile(path+".new", text, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	must(t, err)
}

// tlsPlan is a plan with a certificate, whose files are in a folder of its own.
func tlsPlan(t testing.TB, p plan) plan {
	t.Helper()
	dir := t.TempDir()
	p.Cert, p.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := testcert.New(t, 1)
	put(t, p.Cert, cert)
	put(t, p.Key, key)
	return p
}

// trusting is the configuration of a client that resumes its last session; version 0 is any.
func trusting(version uint16) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, ServerName: "test", MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
}

func (s *service) dialTLS(config *tls.Config) *tls.Conn {
	s.Helper()
	nc := have(net.DialTimeout(s.plan.Network, s.address(), hung))(s)
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	tc := tls.Client(nc, config)
	if err := tc.Handshake(); err != nil {
		_ = nc.Close()
		s.Fatalf("handshake: %v", err)
	}
	return tc
}

// greet connects and wants an answer, by which a client of TLS 1.3 also gets its ticket.
func (s *service) greet(config *tls.Config) (c *client, resumed bool) {
	s.Helper()
	tc := s.dialTLS(config)
	c = &client{Conn: tc, r: bufio.NewReader(tc)}
	if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
		s.Fatalf("%+v, %v", a, err)
	}
	return c, tc.ConnectionState().DidResume
}

// wantSerial wants a new client to see the certificate with that serial number.
func (s *service) wantSerial(want int64) {
	s.Helper()
	tc := s.dialTLS(trusting(0))
	defer tc.Close()
	if got := tc.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
		s.Errorf("certificate %d; want %d", got, want)
	}
}

// wantVisit wants an answer to a client that connects, and that it resumes its session, or not.
func (s *service) wantVisit(config *tls.Config, resumed bool) {
	s.Helper()
	c, got := s.greet(config)
	defer c.Close()
	if got != resumed {
		s.Errorf("resumed is %v, want %v", got, resumed)
	}
}
