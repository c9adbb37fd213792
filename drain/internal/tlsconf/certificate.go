package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificateAge is how long a certificate is used before its files are looked at again.
const certificateAge = time.Second

// certificate is a pair of files, read again when they have changed. The certificate in use stays until
// they hold a pair that fits: an operator replaces one file before the other.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	mu        sync.Mutex // held while the files are looked at; guards what follows
	looked    time.Time
	read      [2]os.FileInfo // as they were when they were read last
	complaint string         // why what is in the files is not in use
}

// newCertificate reads the files. Its errors name them.
func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *certificate) load() error {
	now, err := c.stat()
	if err != nil {
		return err
	}
	c.read = now // before they are read: what is written meanwhile is a change
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return c.explain(err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) stat() (now [2]os.FileInfo, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if now[i], err = os.Stat(name); err != nil {
			return now, c.explain(err)
		}
	}
	return now, nil
}

func (c *certificate) explain(err error) error {
	if errors.As(err, new(*fs.PathError)) { // which names the file
		return fmt.Errorf("certificate and key: %w; name files that exist and that this user may read", err)
	}
	return fmt.Errorf("certificate %s with key %s: %w; name PEM files that belong together", c.certFile, c.keyFile, err)
}

// get returns the certificate, for a handshake. One of those that come at once looks at the files,
// the others do not wait.
func (c *certificate) get() *tls.Certificate {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		if time.Since(c.looked) >= certificateAge {
			c.look()
			c.looked = time.Now()
		}
	}
	return c.current.Load()
}

// look reads the files if they have changed, or could not be used.
func (c *certificate) look() {
	now, err := c.stat()
	if err == nil {
		if c.complaint == "" && same(now[0], c.read[0]) && same(now[1], c.read[1]) {
			return
		}
		err = c.load()
	}
	switch {
	case err == nil:
		c.complaint = ""
		c.log.Info("certificate reloaded", "file", c.certFile, "not_after", c.current.Load().Leaf.NotAfter)
	case err.Error() != c.complaint:
		c.complaint = err.Error()
		c.log.Error("the certificate stays as it was", "err", err)
	}
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
