//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/baton-go/baton/examples/internal/flow"
)

// certificate makes a pair of files for a host, and the pool that trusts it.
func certificate(t *testing.T, host string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert = flow.WriteFile(t, dir, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = flow.WriteFile(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

// secretly makes the crowd speak TLS, and counts the sessions that it resumes.
func (c *crowd) secretly(pool *x509.CertPool) *crowd {
	c.Resumed = 0
	c.creds = credentials.NewTLS(&tls.Config{
		RootCAs:            pool,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		VerifyConnection: func(cs tls.ConnectionState) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if cs.DidResume {
				c.Resumed++
			} else {
				c.full++
			}
			return nil
		},
	})
	return c
}

func TestTLS(t *testing.T) {
	t.Parallel()
	host := flow.Host()
	cert, key, pool := certificate(t, host)
	b := newBedAt(t, host, "-work", "5ms", "-cert", cert, "-key", key)
	b.run(
		(&crowd{n: 3, Kind: kind("gRPC over TLS, unary", "grpc-go, no retries"), client: unary}).secretly(pool),
		(&crowd{n: 1, Kind: kind("gRPC over TLS, bidirectional stream", "grpc-go, talks on when told"), client: talking}).secretly(pool),
	)
}

// A new generation that can't speak TLS does not take over.
func TestABadPairFailsTheSwap(t *testing.T) {
	t.Parallel()
	host := flow.Host()
	cert, key, pool := certificate(t, host)
	b := newBedAt(t, host, "-cert", cert, "-key", key)
	c := (&crowd{bed: b}).secretly(pool)
	other, _, _ := certificate(t, host)
	if err := os.Rename(other, cert); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dash", filepath.Join(flow.Examples(), "control.sh"), "reload")
	cmd.Env = append(os.Environ(), b.Env()...)
	said, code := flow.Run(t, cmd)
	if code != 1 || !strings.Contains(said, "the swap failed") && !strings.Contains(said, "reload failed") {
		t.Errorf("%d, %s", code, said)
	}
	log, _ := os.ReadFile(b.Path("log"))
	if !strings.Contains(string(log), "-cert and -key: drain: TLSConfig ") || !strings.Contains(string(log), cert) || !strings.Contains(string(log), "private key does not match public key") {
		t.Error("the log does not say why")
	}
	if pid, err := c.whom(c.dial()); err != nil || pid != b.PID() {
		t.Errorf("pid %d answers (%v), want %d", pid, err, b.PID())
	}
	close(b.stopping)
	b.Stop()
}
