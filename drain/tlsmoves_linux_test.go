package drain_test

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// holding is what lies under a client over TLS, and can keep what that writes.
type holding struct {
	net.Conn
	hold bool
	held []byte
}

func (h *holding) Write(p []byte) (int, error) {
	if h.hold {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// release sends n bytes of what is kept.
func (h *holding) release(n int) error {
	_, err := h.Conn.Write(h.held[:n])
	h.held = h.held[n:]
	return err
}

// Requests that are cut at every byte of their records, with a swap in the cut, are answered on the connection.
func TestRequestsOverTLSAreCutBySwaps(t *testing.T) {
	each(t, map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}, func(t *testing.T, version uint16) {
		type cut struct {
			*tls.Conn
			under *holding
			r     *bufio.Reader
		}
		const clients = 48
		s := start(t, tlsPlan(t, plan{}))
		config := trusting(version)
		all := make([]cut, clients)
		for i := range all {
			under := &holding{Conn: have(net.Dial(s.plan.Network, s.address()))(t)}
			tc := tls.Client(under, config)
			must(t, tc.Handshake())
			defer tc.Close()
			all[i] = cut{tc, under, bufio.NewReader(tc)}
		}
		for swap, whole := 0, 1; swap*clients < whole; swap++ {
			for i, c := range all {
				c.under.hold = true
				_, err := fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n%04d", i)
				c.under.hold, whole = false, len(c.under.held)
				must(t, err)
				must(t, c.under.release(min(swap*clients+i, whole)))
			}
			old := s.main().PID
			s.swap()
			for i, c := range all {
				must(t, c.under.release(len(c.under.held)))
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatalf("cut at %d: %v", swap*clients+i, err)
				}
				if body, err := io.ReadAll(resp.Body); resp.Close || err != nil || string(body) != fmt.Sprintf("%04d", i) {
					t.Errorf("cut at %d: %q, %v; the last is %v", swap*clients+i, body, err, resp.Close)
				}
			}
			s.wantExit(old, 0)
		}
		s.stop()
		s.wantNothingLost()
	})
}

// forms are the ways in which bytes may be written.
func forms(secret []byte) (all [][]byte) {
	text := hex.EncodeToString(secret)
	list := strings.Trim(fmt.Sprint(secret), "[]")
	for _, form := range []string{string(secret), text, strings.ToUpper(text), list, strings.ReplaceAll(list, " ", ","),
		strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte"), "{}")} {
		all = append(all, []byte(form))
	}
	quoted := strconv.Quote(string(secret[4 : len(secret)-4])) // what is beside it may share a character with its ends
	all = append(all, []byte(quoted[1:len(quoted)-1]))
	for before := range 3 { // as a part of something longer
		text := base64.StdEncoding.EncodeToString(append(make([]byte, before), secret...))
		all = append(all, []byte(text[4:len(text)-4]))
	}
	return all
}

// secretsOf returns those of a key log, and the keys of TLS_AES_128_GCM_SHA256 that come of them.
func secretsOf(t testing.TB, log string) (all [][]byte) {
	t.Helper()
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("key log: %q", line)
		}
		secret := have(hex.DecodeString(f[2]))(t)
		all = append(all, secret)
		if strings.Contains(f[0], "TRAFFIC_SECRET_0") && len(secret) == sha256.Size { // RFC 8446, 7.3
			label := append(binary.BigEndian.AppendUint16(nil, 16), "\x09tls13 key\x00"...)
			all = append(all, have(hkdf.Expand(sha256.New, secret, string(label), 16))(t))
		}
	}
	return all
}

// The secrets of connections that move are in memory and on the link alone: no log, event, status, metric or file of the
// service has them, nor has the environment or the command line of a generation. The service writes no core file.
func TestSecretsOfTLSAreWrittenNowhere(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}), withControl)
	var log bytes.Buffer
	var clients []*client
	var streams []*http2Client
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := trusting(version)
		config.KeyLogWriter = &log
		c, _ := s.greet(config)
		defer c.Close()
		clients = append(clients, c)
		streams = append(streams, s.withSecrets(version, &log))
	}
	written := make(map[string][]byte)
	look := func() {
		pid := s.main().PID
		for _, file := range []string{"environ", "cmdline"} {
			path := fmt.Sprintf("/proc/%d/%s", pid, file)
			written[path] = have(os.ReadFile(path))(t)
		}
		_, _, metrics := s.curl("GET", "/metrics")
		_, _, status := s.curl("GET", "/status")
		written[fmt.Sprint("metrics ", pid)], written[fmt.Sprint("status ", pid)] = []byte(metrics), []byte(status)
		written[fmt.Sprint("Status ", pid)] = []byte(s.do("status"))
	}
	look()
	for range 2 { // crypto/tls hands over the first time, and what has taken a connection the second time
		old := s.main().PID
		s.swap()
		s.wantExit(old, 0)
		for _, c := range clients {
			if a, err := c.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		for _, c := range streams {
			if err := c.ask("hello"); err != nil || c.dials.Load() != 1 {
				t.Fatalf("HTTP/2: %v, %d dials", err, c.dials.Load())
			}
		}
		look()
	}
	s.failSwap("check fails")
	look()
	must(t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && path != s.binary {
			written[path], err = os.ReadFile(path)
		}
		return err
	}))
	s.stop()
	written["log"] = have(os.ReadFile(s.logFile()))(t)
	written["events"] = fmt.Appendf(nil, "%+v", s.since(0))
	secrets := secretsOf(t, log.String())
	if len(secrets) < 2*(1+4+2) {
		t.Fatalf("the key log has %d secrets:\n%s", len(secrets), &log)
	}
	n := 0
	for where, text := range written {
		n += len(text)
		for _, secret := range secrets {
			for _, form := range forms(secret) {
				if bytes.Contains(text, form) {
					t.Errorf("%s has a secret, as %q", where, form)
				}
			}
		}
	}
	t.Logf("%d secrets, in %d forms each, sought in %d texts with %d bytes", len(secrets), len(forms(secrets[0])), len(written), n)
}
