//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/baton-go/baton/examples/internal/flow"
)

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
	cert, key, pool := flow.Certificate(t, host)
	b := newBedAt(t, host, "-work", "5ms", "-cert", cert, "-key", key)
	b.run(
		(&crowd{n: 3, Kind: kind("gRPC over TLS, unary", "grpc-go, no retries"), client: unary}).secretly(pool),
		(&crowd{n: 1, Kind: kind("gRPC over TLS, bidirectional stream", "grpc-go, talks on when told"),
			client: talking}).secretly(pool),
	)
}

// A new generation that can't speak TLS does not take over.
func TestABadPairFailsTheSwap(t *testing.T) {
	t.Parallel()
	host := flow.Host()
	cert, key, pool := flow.Certificate(t, host)
	b := newBedAt(t, host, "-cert", cert, "-key", key)
	c := (&crowd{bed: b}).secretly(pool)
	other, _, _ := flow.Certificate(t, host)
	if err := os.Rename(other, cert); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dash", filepath.Join(flow.Examples(), "deploy", "control.sh"), "reload")
	cmd.Env = append(os.Environ(), b.Env()...)
	said, code := flow.Run(t, cmd)
	if code != 1 || !strings.Contains(said, "the swap failed") && !strings.Contains(said, "reload failed") {
		t.Errorf("%d, %s", code, said)
	}
	log, _ := os.ReadFile(b.Path("log"))
	if !strings.Contains(string(log), "-cert and -key: drain: TLSConfig ") ||
		!strings.Contains(string(log), cert) ||
		!strings.Contains(string(log), "private key does not match public key") {
		t.Error("the log does not say why")
	}
	if pid, err := c.whom(c.dial()); err != nil || pid != b.PID() {
		t.Errorf("pid %d answers (%v), want %d", pid, err, b.PID())
	}
	close(b.stopping)
	b.Stop()
}
