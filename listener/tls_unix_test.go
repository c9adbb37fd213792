//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/sniff"
)

// underTLS is the net.Conn under a TLS client, which can hold back what that writes.
type underTLS struct {
	net.Conn
	hold     bool
	holdNext bool // from the next write on
	held     []byte
}

func (w *underTLS) Write(p []byte) (int, error) {
	if w.hold {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.hold = w.holdNext
	return w.Conn.Write(p)
}

// release sends n bytes of what is held, or all.
func (w *underTLS) release(t testing.TB, n int) {
	t.Helper()
	n = min(n, len(w.held))
	mustWrite(t, w.Conn, string(w.held[:n]))
	w.held = w.held[n:]
}

// dialHolding returns a TLS client, what is under it, and its secrets.
func dialHolding(t testing.TB, g *generation) (*client, *underTLS, *bytes.Buffer) {
	t.Helper()
	w, secrets := &underTLS{Conn: dial(t, g).nc}, new(bytes.Buffer)
	tc := tls.Client(w, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: secrets})
	check(t, tc.Handshake())
	return &client{t, tc, bufio.NewReader(tc)}, w, secrets
}

// The rest of a request may be on its way while its first bytes lie in crypto/tls, where nobody sees them. It
// has a grace.
func TestHalfARecordGetsAGrace(t *testing.T) {
	for _, comes := range []bool{true, false} {
		one := secure(t, &http.Server{}, "http/1.1")
		c, w, _ := dialHolding(t, one)
		c.ask("a")
		one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
		w.hold = true
		c.send(post("in two pieces"))
		w.hold = false
		w.release(t, 7)
		one.wantHeard(t, 1)
		grace := time.Hour
		if !comes {
			grace = 20 * time.Millisecond
		}
		wait := one.depart(t, nil, grace)
		if comes {
			w.release(t, 1<<20)
			c.wantLast("in two pieces")
		} else {
			c.wantClosed()
		}
		wait()
		if n := one.set.Counts(); n.Lost != 0 || n.CutOff != 0 || (n.Part == 0) != comes {
			t.Errorf("the rest comes: %v: %+v", comes, n)
		}
	}
}

// A KeyUpdate (RFC 8446, 4.6.3) is no request, though its record looks like one.
func TestKeyUpdateIsNoRequest(t *testing.T) {
	one := secure(t, &http.Server{}, "http/1.1")
	c, w, secrets := dialHolding(t, one)
	c.ask("a")
	one.await(t, "not idle", func(n Counts) bool { return n.Idle == 1 })
	mustWrite(t, w.Conn, string(keyUpdate(t, c.nc.(*tls.Conn), secrets.String(), 1)))
	one.wantHeard(t, 1)
	wait := one.depart(t, nil, 10*time.Millisecond)
	c.wantEnd()
	wait()
	if n := one.set.Counts(); n.Lost != 0 {
		t.Errorf("%+v", n)
	}
}

// keyUpdate seals a KeyUpdate as the client's record of that number.
func keyUpdate(t testing.TB, tc *tls.Conn, secrets string, number byte) []byte {
	t.Helper()
	if s := tc.ConnectionState().CipherSuite; s != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("cipher suite %s; this test knows TLS_AES_128_GCM_SHA256", tls.CipherSuiteName(s))
	}
	_, line, _ := strings.Cut(secrets, "CLIENT_TRAFFIC_SECRET_0 ")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		t.Fatalf("secrets: %q", secrets)
	}
	secret, err := hex.DecodeString(fields[1])
	check(t, err)
	expand := func(label string, n int) []byte { // RFC 8446, 7.1
		info := binary.BigEndian.AppendUint16(nil, uint16(n))
		info = append(append(info, byte(len("tls13 "+label))), "tls13 "+label...)
		out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
		check(t, err)
		return out
	}
	block, err := aes.NewCipher(expand("key", 16))
	check(t, err)
	aead, err := cipher.NewGCM(block)
	check(t, err)
	nonce := expand("iv", 12)
	nonce[11] ^= number
	inner := []byte{24, 0, 0, 1, 0 /* the other side need not follow */, 22}
	head := []byte{sniff.ApplicationData, 3, 3, 0, byte(len(inner) + aead.Overhead())}
	return aead.Seal(head, nonce, inner, head[:5:5])
}

// Whoever connects and says nothing that makes sense must not hold a departure.
func TestStrangersAtATLSPortEnd(t *testing.T) {
	one := secure(t, &http.Server{}, "http/1.1")
	for _, said := range []string{"", "GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00",
		"\x17\x03\x03", "\x16"} {
		dial(t, one).send(said)
	}
	one.await(t, "not accepted", func(n Counts) bool { return n.New+n.Active >= 4 })
	one.depart(t, nil, 10*time.Millisecond)()
}

// A client that rests for less than the grace finds its connection open, so that nothing that it sends meets a close.
func TestTheGraceBeginsWithTheRest(t *testing.T) {
	t.Parallel()
	const grace = 200 * time.Millisecond
	for _, kind := range []string{"plaintext", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			one := next(t, nil, &http.Server{})
			join := dial
			if kind == "TLS" {
				one, join = secure(t, &http.Server{}, "http/1.1"), dialTLS
			}
			clients := make([]*client, 16)
			for i := range clients {
				clients[i] = join(t, one)
			}
			rested := make([]time.Time, len(clients))
			for i, c := range clients {
				rested[i] = time.Now()
				c.ask("a")
			}
			one.await(t, "not idle", func(n Counts) bool { return n.Idle == len(clients) })
			wait := one.depart(t, nil, grace)
			var ends sync.WaitGroup
			for i, c := range clients {
				ends.Go(func() {
					c.wantEnd()
					if d := time.Since(rested[i]); d < grace {
						t.Errorf("closed after a rest of %v, want %v at least", d, grace)
					}
				})
			}
			ends.Wait()
			wait()
		})
	}
}

func TestLedgerOfTLS(t *testing.T) {
	record := func(kind byte, length int) string {
		return string([]byte{kind, 3, 3, byte(length >> 8), byte(length)}) + strings.Repeat("x", length)
	}
	for sent, want := range map[string]LossKind{
		record(sniff.ApplicationData, sniff.MaxAlert-5):                                          "",
		record(sniff.ApplicationData, sniff.MaxAlert-4):                                          LostRequest,
		record(sniff.ApplicationData, sniff.MaxAlert-5) + record(sniff.ApplicationData, 1000):    LostRequest,
		record(sniff.ApplicationData, 1000)[:1000]:                                               LostPart,
		record(sniff.ApplicationData, 1000)[:3]:                                                  LostPart,
		record(sniff.AlertRecord, 26):                                                            "",
		record(sniff.HandshakeRecord, 500):                                                       LostPart,
		record(sniff.HandshakeRecord, 500) + record(20, 1) + record(sniff.ApplicationData, 1000): LostRequest,
		strings.Repeat("x", 1000):                                                                LostJunk,
		"GET / HTTP/1.1\r\n\r\n":                                                                 LostJunk,
	} {
		one := secure(t, &http.Server{}, "http/1.1")
		var losses []Loss
		one.set.cfg.OnLoss = func(l Loss) { losses = append(losses, l) }
		near, far := pair(t)
		c := &conn{Conn: far, set: one.set, sock: one.ln.(*socket)}
		one.set.add(c)
		c.onState(&http.Server{}, tls.Server(c, nil), http.StateNew)
		c.wrapper.seen.Store(true)
		near.send(sent)
		one.await(t, "no bytes", func(Counts) bool { return one.unread() == len(sent) })
		d := newDrainer(one.set)
		d.end()
		one.set.leaving.Store(d)
		_ = c.Close()
		var got LossKind
		if len(losses) > 0 {
			got = losses[0].Kind
		}
		if n := one.set.Counts(); got != want || n.Lost+n.Part+n.Junk != int64(len(losses)) ||
			(n.Lost == 1) != (want == LostRequest) {
			t.Errorf("%.30q: %q, %+v, want %q", sent, got, n, want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x02abX"), uint8(3))
	f.Add([]byte("\x16\x03\x01\x00\x00\x17\x03\x03"), uint8(1))
	f.Add([]byte("\x17\x03\x03\x00\x00\x17\x03\x03\xff\xff"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		var whole, pieces sniff.Records
		whole.Feed(data)
		for rest := data; len(rest) > 0; {
			n := min(int(size)+1, len(rest))
			pieces.Feed(rest[:n])
			rest = rest[n:]
		}
		if whole != pieces {
			t.Errorf("%+v in one piece, %+v in pieces of %d", whole, pieces, size+1)
		}
		for len(data) >= 5 { // the plain way
			n := 5 + int(binary.BigEndian.Uint16(data[3:]))
			if n > len(data) {
				break
			}
			data = data[n:]
		}
		if whole.Partial() != (len(data) > 0) {
			t.Errorf("in a record: %v with %q left", whole.Partial(), data)
		}
	})
}
