//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// security has clients speak TLS: every other connection 1.3, the others 1.2. A nil one leaves them at plaintext.
type security struct {
	cert, key string // files of the service
	trust     *x509.CertPool
	dials     atomic.Int64
}

func newSecurity(dir string) (*security, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	s := &security{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), trust: x509.NewCertPool()}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public})
	s.trust.AppendCertsFromPEM(chain)
	if err = os.WriteFile(s.cert, chain, 0o600); err == nil {
		err = os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
	}
	return s, err
}

// flags are those of the service.
func (s *security) flags() []string {
	if s == nil {
		return nil
	}
	return []string{"-cert", s.cert, "-key", s.key}
}

// dial connects within d.Timeout, handshake included.
func (s *security) dial(d net.Dialer, addr string) (net.Conn, error) {
	by := time.Now().Add(d.Timeout)
	conn, err := d.Dial("tcp", addr)
	if err != nil || s == nil {
		return conn, err
	}
	version := []uint16{tls.VersionTLS13, tls.VersionTLS12}[s.dials.Add(1)%2]
	secured := tls.Client(conn, &tls.Config{
		RootCAs: s.trust, ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version,
	})
	_ = conn.SetDeadline(by)
	if err := secured.Handshake(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}
