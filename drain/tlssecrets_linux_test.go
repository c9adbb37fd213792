package drain_test

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// overheard is a client over TLS whose secrets are known. Its suite has AES-128.
type overheard struct {
	*client
	testing.TB
	version uint16
	log     bytes.Buffer // of keys
	hello   bytes.Buffer // what the server says first
}

// ear is what lies below one.
type ear struct {
	net.Conn
	hello *bytes.Buffer
}

func (e ear) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.hello.Write(p[:min(n, max(0, 64-e.hello.Len()))])
	return n, err
}

func (s *service) overhear(version uint16) *overheard {
	s.Helper()
	o := &overheard{TB: s.TB, version: version}
	config := trusting(version)
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	config.KeyLogWriter = &o.log
	tc := tls.Client(ear{have(net.Dial(s.plan.Network, s.address()))(s), &o.hello}, config)
	o.client = &client{Conn: tc, r: bufio.NewReader(tc)}
	s.Cleanup(func() { _ = tc.Close() })
	if a, err := o.ask("POST", "/echo", "hello"); err != nil || a.body != "hello" {
		s.Fatalf("%+v, %v", a, err)
	}
	return o
}

// secrets are those of the key log, in its order. Of TLS 1.3 the last four are those of the handshake and of the
// traffic, each the client's and the server's.
func (o *overheard) secrets() (all [][]byte) {
	o.Helper()
	for line := range strings.Lines(o.log.String()) {
		all = append(all, have(hex.DecodeString(strings.Fields(line)[2]))(o))
	}
	return all
}

// traffic is what the one process tells the other of the two directions: secrets, or keys with their salts.
func (o *overheard) traffic() [][]byte {
	o.Helper()
	if o.version == tls.VersionTLS13 {
		var all [][]byte
		for line := range strings.Lines(o.log.String()) {
			if strings.Contains(line, "TRAFFIC_SECRET_0") {
				all = append(all, have(hex.DecodeString(strings.Fields(line)[2]))(o))
			}
		}
		return all
	}
	random := have(hex.DecodeString(strings.Fields(o.log.String())[1]))(o)
	seed := append([]byte("key expansion"), o.hello.Bytes()[5+4+2:][:32]...) // behind the heads and the version
	seed = append(seed, random...)
	sum := func(p ...[]byte) []byte {
		mac := hmac.New(sha256.New, o.secrets()[0])
		mac.Write(bytes.Join(p, nil))
		return mac.Sum(nil)
	}
	var block []byte // RFC 5246, 5 and 6.3
	for a := sum(seed); len(block) < 2*(16+4); a = sum(a) {
		block = append(block, sum(a, seed)...)
	}
	return [][]byte{
		append(bytes.Clone(block[:16]), block[32:36]...),
		append(bytes.Clone(block[16:32]), block[36:40]...),
	}
}

// keys are those of AES-128, and of TLS 1.3 the IVs.
func (o *overheard) keys() (all [][]byte) {
	o.Helper()
	for _, secret := range o.traffic() {
		if o.version == tls.VersionTLS12 {
			all = append(all, secret[:16])
			continue
		}
		for _, x := range []struct {
			label string
			n     int
		}{{"\x09tls13 key\x00", 16}, {"\x08tls13 iv\x00", 12}} { // RFC 8446, 7.3
			label := append(binary.BigEndian.AppendUint16(nil, uint16(x.n)), x.label...)
			all = append(all, have(hkdf.Expand(sha256.New, secret, string(label), x.n))(o))
		}
	}
	return all
}

// forms are the ways in which bytes may be written.
func forms(secret []byte) (all [][]byte) {
	text := hex.EncodeToString(secret)
	list := strings.Trim(fmt.Sprint(secret), "[]")
	for _, form := range []string{string(secret), text, strings.ToUpper(text), list, strings.ReplaceAll(list, " ", ","),
		strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte"), "{}")} {
		all = append(all, []byte(form))
	}
	if len(secret) >= 16 { // what is beside it may share a character with its ends, and of an IV too little is left
		quoted := strconv.Quote(string(secret[4 : len(secret)-4]))
		all = append(all, []byte(quoted[1:len(quoted)-1]))
	}
	for before := range 3 { // as a part of something longer
		text := base64.StdEncoding.EncodeToString(append(make([]byte, before), secret...))
		all = append(all, []byte(text[4:len(text)-4]))
	}
	return all
}

// The secrets of connections that move are in memory and on the link alone: no log, event, status, metric or file of
// the service has them, nor has the environment or the command line of a generation. The service writes no core file.
func TestSecretsOfTLSAreWrittenNowhere(t *testing.T) {
	s := start(t, tlsPlan(t, plan{}), withControl)
	var clients, logs []*overheard
	var streams []*http2Client
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		clients = append(clients, s.overhear(version))
		logs = append(logs, &overheard{TB: t, version: version})
		streams = append(streams, s.withSecrets(version, &logs[len(logs)-1].log))
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
	var secrets [][]byte
	for _, c := range clients {
		secrets = append(secrets, append(c.secrets(), c.keys()...)...)
	}
	for _, c := range logs {
		if secrets = append(secrets, c.secrets()...); c.version == tls.VersionTLS13 {
			secrets = append(secrets, c.keys()...)
		}
	}
	if len(secrets) < 3+8+1+8 {
		t.Fatalf("%d secrets", len(secrets))
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
	t.Logf("%d secrets, in %d forms each, sought in %d texts with %d bytes",
		len(secrets), len(forms(secrets[0])), len(written), n)
}

// memoryOf is what a core file of the process would have of its own memory.
func memoryOf(t testing.TB, pid int) (all []byte) {
	t.Helper()
	var zeros [4096]byte
	maps := have(os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid)))(t)
	mem := have(os.Open(fmt.Sprintf("/proc/%d/mem", pid)))(t)
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var may string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &may); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if strings.HasPrefix(may, "rw") && to-from <= 256<<20 { // the race detector's are larger
			b := make([]byte, to-from)
			n, _ := mem.ReadAt(b, int64(from))
			for page := range slices.Chunk(b[:n], 4096) {
				if !bytes.Equal(page, zeros[:len(page)]) {
					all = append(all, page...)
				}
			}
			all = append(all, make([]byte, 64)...)
		}
	}
	return all
}

// swapWith swaps, and waits until each client is with generation gen.
func (s *service) swapWith(gen int, clients []*overheard) {
	s.Helper()
	s.swap()
	for _, c := range clients {
		s.eventually("moved", func() bool {
			a, err := c.ask("POST", "/echo", "hello")
			must(s, err)
			return a.gen == gen
		})
	}
}

// A process that has taken a connection over the link, and has handed it on, has nothing of what the
// link has carried in its memory: not of its records, nor of a message, nor of its parts. Copies that
// Go makes of keys are not spoken of.
func TestSecretsOfTLSLeaveWithTheirConnection(t *testing.T) {
	s := start(t, tlsPlan(t, plan{DrainTimeout: 2 * hung})) // to search all memory takes its time
	clients := []*overheard{s.overhear(tls.VersionTLS12), s.overhear(tls.VersionTLS13)}
	swap := func(gen int) { s.swapWith(gen, clients) }
	count := func(pid int) (n int, as []string) {
		mem := memoryOf(t, pid)
		for _, c := range clients {
			for i, secret := range c.traffic() {
				for _, form := range forms(secret) {
					if k := bytes.Count(mem, form); k > 0 {
						n += k
						as = append(as, fmt.Sprintf("%s, %d: %d times %q", tls.VersionName(c.version), i, k, form))
					}
				}
			}
		}
		return n, as
	}
	swap(2)
	second := s.main().PID
	slow, open := s.slow("keeps it")
	if n, as := count(second); n != 2*len(clients) {
		t.Errorf("a process with the connections has %d; want one for each direction: %q", n, as)
	}
	swap(3)
	if n, as := count(second); n > 0 {
		t.Errorf("a process that has handed them on has %d: %q", n, as)
	}
	s.finishSlow(slow, open)
	s.stop()
}
