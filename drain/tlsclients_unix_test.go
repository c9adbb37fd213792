//go:build unix

package drain_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// put replaces a file.
func put(t testing.TB, path string, text []byte) {
	t.Helper()
	err := os.WriteFile(path+".new", text, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tlsPlan is a plan with a certificate, whose files are in a folder of its own.
func tlsPlan(t testing.TB, p plan) plan {
	t.Helper()
	dir := t.TempDir()
	p.Cert, p.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := drain.NewPair(t, 1)
	put(t, p.Cert, cert)
	put(t, p.Key, key)
	return p
}

// dialTLS makes a connection that resumes a session of the cache, where there is one.
func (s *service) dialTLS(version uint16, sessions tls.ClientSessionCache) (*tls.Conn, error) {
	nc, err := net.DialTimeout(s.plan.Network, s.address(), hung)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * hung))
	tc := tls.Client(nc, &tls.Config{
		InsecureSkipVerify: true, ServerName: "test", MinVersion: version, MaxVersion: version, ClientSessionCache: sessions,
	})
	if err := tc.Handshake(); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return tc, nil
}

// greet wants an answer on a connection that dialTLS has made, by which a client of TLS 1.3 also gets its ticket.
func (s *service) greet(tc *tls.Conn) *client {
	s.Helper()
	c := &client{tc, bufio.NewReader(tc)}
	if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
		s.Fatalf("%+v, %v", a, err)
	}
	return c
}

// serial is that of the certificate which a new client sees.
func (s *service) serial() int64 {
	s.Helper()
	tc, err := s.dialTLS(0, nil)
	if err != nil {
		s.Fatal(err)
	}
	defer tc.Close()
	return tc.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
