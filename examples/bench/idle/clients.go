//go:build unix

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
)

type wait struct {
	end  time.Time
	took time.Duration
}

// dial connects, by TLS 1.3 and 1.2 in turn.
func (s *site) dial() (net.Conn, error) {
	if !*secure {
		return net.Dial("tcp", s.addr)
	}
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} //nolint:gosec // its own, of now
	if s.dials.Add(1)%2 == 0 {
		config.MaxVersion = tls.VersionTLS12
	}
	return tls.Dial("tcp", s.addr, config)
}

// client is an active one.
func (s *site) client(ctx context.Context) {
	c, err := s.dial()
	if err != nil {
		s.fail(err)
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		begun := time.Now()
		if err := post(c); err != nil {
			s.fail(fmt.Errorf("a request is lost: %w", err))
			return
		}
		w := wait{time.Now(), time.Since(begun)}
		s.mu.Lock()
		s.waits = append(s.waits, w)
		s.mu.Unlock()
		time.Sleep(rand.N(*think))
	}
}

func (s *site) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = cmp.Or(s.err, err)
}

func (s *site) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// between returns the waits that were under way in that time.
func (s *site) between(begin, end time.Time) (all []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waits {
		if w.end.After(begin) && w.end.Add(-w.took).Before(end) {
			all = append(all, w.took)
		}
	}
	return all
}

func post(c net.Conn) error {
	const body = "0123456789abcdef"
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n"+body); err != nil {
		return err
	}
	var b [512]byte
	for n := 0; ; {
		m, err := c.Read(b[n:])
		if err != nil {
			return err
		}
		if n += m; strings.HasSuffix(string(b[:n]), "\r\n\r\n"+body) {
			return nil
		}
	}
}

func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[min(len(all)-1, int(share*float64(len(all))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%v/%v/%v/%v of %d",
		at(0.5), at(0.99), at(0.999), all[len(all)-1].Round(10*time.Microsecond), len(all))
}
