//go:build unix

package drain_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/testcert"
)

func TestCertificateOfANewGeneration(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	if n := s.serial(); n != 1 {
		t.Errorf("certificate %d", n)
	}
	cert, key := testcert.New(t, 2)
	put(t, s.plan.Cert, cert)
	r := s.failedSwap()
	if !strings.Contains(r.Err, s.plan.Cert) || !strings.Contains(r.Err, s.plan.Key) ||
		!strings.Contains(r.Err, "does not match") {
		t.Errorf("%q; want the files and why", r.Err)
	}
	if n := s.serial(); n != 1 {
		t.Errorf("certificate %d of the old generation", n)
	}
	put(t, s.plan.Key, key)
	s.wantAlone(s.swap().PID) // the old one may answer for a moment
	if n := s.serial(); n != 2 {
		t.Errorf("certificate %d of the new generation", n)
	}
	s.plan.Key = filepath.Join(t.TempDir(), "away")
	s.replan()
	if r := s.failedSwap(); !strings.Contains(r.Err, s.plan.Key) {
		t.Errorf("%q; want the file that is missing", r.Err)
	}
	s.stop()
}

func TestCertificateIsReadAnewWithoutASwap(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}))
	cert, key := testcert.New(t, 2)
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
