package h2drain

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// patience is for what ought to come at once.
const patience = 30 * time.Second

// wires are both ends of a connection of TCP.
func wires(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// full writes as much as the two kernels take: the rest has not come to the client's.
func full(t *testing.T, far net.Conn) {
	t.Helper()
	_ = far.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, err := io.Copy(far, zeros{})
	if sockopt.Unsent(far) == 0 {
		t.Fatalf("the client's kernel has taken all: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A client whose kernel has the PING, or that sends something, is merely busy, as this process may be: it is waited for
// longer than one that may be gone. What it was about to send when it learned is served then.
func TestABusyClientHasLonger(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		grace  time.Duration
		gone   bool          // the kernel of its host does not take what is written
		unread bool          // it has sent something that nobody reads
		sends  bool          // it sends a frame each second, and answers nothing
		begun  bool          // it has begun a frame
		hurry  time.Duration // 0: none
		want   time.Duration // until the server is told
	}{
		"busy":                       {grace: time.Second, want: liveMost},
		"busy, little grace":         {grace: 100 * time.Millisecond, want: 500 * time.Millisecond},
		"busy, two seconds":          {grace: 2 * time.Second, want: liveMost},
		"busy, a long grace":         {grace: 7 * time.Second, want: 7 * time.Second},
		"busy, no grace":             {grace: 0, want: 0},
		"busy, hurried":              {grace: time.Second, hurry: 500 * time.Millisecond, want: 500 * time.Millisecond},
		"gone":                       {grace: time.Second, gone: true, want: time.Second},
		"gone, but it had sent":      {grace: time.Second, gone: true, unread: true, want: liveMost},
		"behind much that it sends":  {grace: time.Second, gone: true, sends: true, want: liveMost},
		"it has begun a frame":       {grace: time.Second, begun: true, want: time.Second},
		"unread, and not yet served": {grace: time.Second, begun: true, unread: true, want: liveMost},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := wires(t)
			if x.gone {
				full(t, far)
			}
			if x.unread {
				if _, err := near.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				for begun := time.Now(); sockopt.Unread(far) == 0; time.Sleep(time.Millisecond) {
					if time.Since(begun) > patience {
						t.Fatal("nothing has come")
					}
				}
			}
			synctest.Test(t, func(t *testing.T) {
				f, _ := hosed(t)
				f.below.(*nether).sock = far
				if x.begun {
					feed(t, f, h2frame.Ping(1)[:5])
				}
				begun := time.Now()
				f.Leave(x.grace)
				if x.hurry > 0 {
					f.Hurry(x.hurry)
				}
				for at := time.Duration(0); !f.ended.Load(); at += 50 * time.Millisecond {
					if synctest.Wait(); f.ended.Load() {
						break
					}
					if x.sends && at%time.Second == time.Second/2 {
						feed(t, f, written(h2frame.TypeWindow, 0, 0, []byte{0, 0, 0, 1}))
					}
					if time.Sleep(50 * time.Millisecond); at > time.Minute {
						t.Fatal("never told")
					}
				}
				if got := time.Since(begun); got != x.want {
					t.Errorf("told after %v, want %v", got, x.want)
				}
				_ = f.Close()
			})
		})
	}
}

// cuts counts what is cut off, of connections at rest.
type cuts struct {
	nether
	n atomic.Int32
}

func (*cuts) AtRest() bool { return true }
func (c *cuts) Cut()       { c.n.Add(1) }

// Once the server is told, a client that receives something is waited for, and cut off when it has received nothing for
// as long as net/http gives it.
func TestAClientThatNoLongerReadsIsCutOff(t *testing.T) {
	t.Parallel()
	near, far := wires(t)
	full(t, far)
	synctest.Test(t, func(t *testing.T) {
		f, _ := hosed(t)
		below := &cuts{nether: nether{sock: far}}
		f.below = below
		f.Hurry(0)
		synctest.Wait()
		f.told.Store(true)
		time.Sleep(lingerLeast / 2)
		for queued := sockopt.Unsent(far); sockopt.Unsent(far) == queued; {
			if _, err := near.Read(make([]byte, 1<<16)); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []int32{0, 1, 1} { // half a second before, and after, a grace ends
			time.Sleep(lingerLeast)
			synctest.Wait()
			if n := below.n.Load(); n != want {
				t.Errorf("cut off %d times after %d graces, want %d", n, i+1, want)
			}
		}
		_ = f.Close()
	})
}

// One that takes four times its grace for each answer loses nothing: neither what it was about to send before the
// first, nor before the second.
func TestABusyClientThatAnswersLateIsServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, _ := hosed(t)
		f.Leave(time.Second)
		for n := uint32(1); n <= 2+QuietRounds; n++ {
			time.Sleep(4 * time.Second)
			if synctest.Wait(); f.ended.Load() {
				t.Fatalf("told before the answer to PING %d", n)
			}
			if n <= 2 {
				feed(t, f, written(h2frame.TypeHeaders, h2frame.FlagEndBlock, 2*n+1, nil))
			}
			feed(t, f, acked(n))
			if n == 2+QuietRounds {
				break
			}
			for p := f.drain.Load(); p.awaited.Load() != n+1; time.Sleep(10 * time.Millisecond) {
				if synctest.Wait(); f.ended.Load() {
					t.Fatalf("told before PING %d", n+1)
				}
			}
		}
		if !f.ended.Load() || f.in.Last != 5 {
			t.Errorf("ended %v, the last stream is %d", f.ended.Load(), f.in.Last)
		}
		_ = f.Close()
	})
}

// certified is a server's configuration.
func certified(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// What a client's request is in may lie in the kernel, or in TLS, when the server is about to be told: it is
// read before.
func TestWhatHasComeIsReadBeforeTheEnd(t *testing.T) {
	t.Parallel()
	request := func(stream uint32) []byte {
		return written(h2frame.TypeHeaders, h2frame.FlagEndBlock|h2frame.FlagEndStream, stream,
			[]byte{0x82, 0x86, 0x84})
	}
	settings := written(h2frame.TypeSettings, 0, 0, nil)
	for name, x := range map[string]struct {
		secure bool
		said   [][]byte // each with a write, and so a record, of its own
		cut    int      // bytes that the last record lacks
		want   [][]byte // before the GOAWAY
	}{
		"nothing":   {},
		"a request": {said: [][]byte{request(3)}, want: [][]byte{request(3)}},
		"some":      {said: [][]byte{request(3), request(5)}, want: [][]byte{request(3), request(5)}},
		"over TLS":  {secure: true, said: [][]byte{request(3)}, want: [][]byte{request(3)}},
		"some over TLS": {secure: true, said: [][]byte{request(3), request(5)},
			want: [][]byte{request(3), request(5)}},
		"one record": {secure: true, said: [][]byte{append(request(3), request(5)...)},
			want: [][]byte{request(3), request(5)}},
		"a part of a record": {secure: true, said: [][]byte{request(3), request(5)}, cut: 1,
			want: [][]byte{request(3)}},
		"a part of one alone": {secure: true, said: [][]byte{request(3)}, cut: 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := wires(t)
			_ = near.SetDeadline(time.Now().Add(patience))
			line := &cutter{Conn: near}
			client, server := net.Conn(line), far
			if x.secure {
				tc := tls.Client(line, &tls.Config{InsecureSkipVerify: true})
				ts := tls.Server(far, certified(t))
				shaken := make(chan error)
				go func() { shaken <- ts.Handshake() }()
				if err := tc.Handshake(); err != nil {
					t.Fatal(err)
				}
				if err := <-shaken; err != nil {
					t.Fatal(err)
				}
				client, server = tc, ts
			}
			f := &Conn{Conn: server, below: &nether{sock: far}}
			if _, err := f.Write(settings); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write(settings); err != nil {
				t.Fatal(err)
			}
			var got []byte
			buf := make([]byte, len(settings)) // a server reads frame by frame
			if _, err := io.ReadFull(f, buf); err != nil {
				t.Fatal(err)
			}
			sent := line.sent
			for i, b := range x.said {
				if i == len(x.said)-1 {
					line.lack = x.cut
				}
				if _, err := client.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			for begun := time.Now(); sockopt.Unread(far) < line.sent-sent; time.Sleep(time.Millisecond) {
				if time.Since(begun) > patience {
					t.Fatalf("%d bytes have come, want %d", sockopt.Unread(far), line.sent-sent)
				}
			}
			f.Hurry(0)
			for begun := time.Now(); !f.ended.Load(); time.Sleep(time.Millisecond) {
				if time.Since(begun) > patience {
					t.Fatal("not ended")
				}
			}
			for buf := make([]byte, 4096); !bytes.HasSuffix(got, h2frame.GoAway(0)); {
				n, err := f.Read(buf)
				if got = append(got, buf[:n]...); err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
			}
			if want := append(bytes.Join(x.want, nil), h2frame.GoAway(0)...); !bytes.Equal(got, want) {
				t.Errorf("the server reads %q, want %q", got, want)
			}
			_ = f.Close()
		})
	}
}

// cutter keeps the end of the next write.
type cutter struct {
	net.Conn
	lack, sent int
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:len(p)-c.lack])
	c.sent += n
	return n + c.lack, err
}

// A flood has no end, but what is read of it has.
func TestAFloodDoesNotPutTheEndOff(t *testing.T) {
	t.Parallel()
	f, h := hosed(t)
	near, far := wires(t)
	f.below.(*nether).sock = far
	if _, err := near.Write([]byte("more")); err != nil {
		t.Fatal(err)
	}
	f.tellServer()
	flood := bytes.Repeat(h2frame.Ping(1), 1000)
	read := 0
	for buf := make([]byte, 4096); !f.told.Load(); {
		if h.mu.Lock(); h.in.Len() < len(buf) {
			h.in.Write(flood)
		}
		h.mu.Unlock()
		n, err := f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if read += n; read > 2*mostGlanced {
			t.Fatal("never told")
		}
	}
	if read < mostGlanced {
		t.Errorf("told after %d bytes, want %d", read, mostGlanced)
	}
	_ = f.Close()
}
