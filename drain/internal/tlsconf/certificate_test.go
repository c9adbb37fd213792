package tlsconf

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/drain/internal/testcert"
)

func TestCertificateIsLookedAtOnceASecond(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write := func(path string, text []byte) { // in place, as some do
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cert, key := testcert.New(t, 1)
		write(certFile, cert)
		write(keyFile, key)
		c, err := newCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		want := func(serial int64, complaints, read int, when string) {
			t.Helper()
			if got := c.get().Leaf.SerialNumber.Int64(); got != serial {
				t.Errorf("%s: certificate %d, want %d", when, got, serial)
			}
			if n := strings.Count(log.String(), "stays as it was"); n != complaints {
				t.Errorf("%s: %d complaints, want %d:\n%s", when, n, complaints, log.String())
			}
			if n := strings.Count(log.String(), "certificate reloaded"); n != read {
				t.Errorf("%s: read %d times, want %d", when, n, read)
			}
		}
		time.Sleep(time.Minute)
		want(1, 0, 0, "untouched")
		cert, key = testcert.New(t, 222)
		write(keyFile, key)
		want(1, 0, 0, "within the second")
		for range 3 {
			time.Sleep(certificateAge)
			want(1, 1, 0, "half replaced")
		}
		write(certFile, cert[:len(cert)/2])
		time.Sleep(certificateAge)
		want(1, 2, 0, "half written")
		write(certFile, cert)
		for range 3 {
			time.Sleep(certificateAge)
			want(222, 2, 1, "whole")
		}
		_ = os.Remove(keyFile)
		for range 3 {
			time.Sleep(certificateAge)
			want(222, 3, 1, "away")
		}
	})
}
