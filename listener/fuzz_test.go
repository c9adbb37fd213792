package listener

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/h2frame"
)

// script is what a fuzzer does, byte by byte.
type script []byte

func (s *script) next() (b byte) {
	if len(*s) > 0 {
		b, *s = (*s)[0], (*s)[1:]
	}
	return b
}

func (s *script) take(n int) (b []byte) {
	n = min(n, len(*s))
	b, *s = (*s)[:n], (*s)[n:]
	return b
}

// duration is up to about a minute.
func (s *script) duration() time.Duration { return time.Duration(s.next()) * 250 * time.Millisecond }

// state is one of those that a server reports; the first is that of no server.
func (s *script) state() int32 { return int32(s.next() % 6) }

// duplex is a connection of a set, over a pipe, whose client keeps what it gets and whose server keeps what it reads.
type duplex struct {
	t      *testing.T
	set    *Set
	conn   *conn
	server net.Conn // what the server has: conn or something over it
	client net.Conn

	sent, said []byte // by the client, by the server
	running    sync.WaitGroup
	mu         sync.Mutex // guards what follows
	heard, got []byte     // by the server, by the client
}

func newDuplex(t *testing.T) *duplex {
	near, far := net.Pipe()
	b := &duplex{t: t, set: New(Config{}), client: near}
	b.conn = &conn{Conn: far, set: b.set, sock: &socket{key: "tcp fuzz"}}
	b.set.add(b.conn)
	return b
}

// keep reads all, and closes at the end, as servers do.
func (b *duplex) keep(from net.Conn, size int, in *[]byte) {
	b.running.Go(func() {
		defer from.Close()
		for p := make([]byte, size); ; {
			n, err := from.Read(p)
			b.mu.Lock()
			*in = append(*in, p[:n]...)
			b.mu.Unlock()
			if err != nil && !isTimeout(err) {
				return
			}
			if err != nil {
				_ = from.SetReadDeadline(time.Time{})
			}
		}
	})
}

// run gives the server buffers of a size.
func (b *duplex) run(size int) {
	b.keep(b.server, size, &b.heard)
	b.keep(b.client, 4096, &b.got)
}

// send makes the client send.
func (b *duplex) send(p []byte) {
	n, _ := b.client.Write(p)
	b.sent = append(b.sent, p[:n]...)
	synctest.Wait()
}

// say makes the server write.
func (b *duplex) say(p []byte) {
	n, _ := b.server.Write(p)
	b.said = append(b.said, p[:n]...)
	synctest.Wait()
}

// depart makes the set leave as far as its connections see.
func (b *duplex) depart(grace time.Duration) *drainer {
	d := newDrainer(b.set)
	d.end()
	d.grace.Store(int64(grace))
	if !b.set.leaving.CompareAndSwap(nil, d) {
		return b.set.leaving.Load()
	}
	return d
}

// end closes both sides: everything that runs must come to its end.
func (b *duplex) end() {
	_ = b.server.Close()
	_ = b.client.Close()
	b.running.Wait()
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := b.set.Counts().Open(); n != 0 {
		b.t.Errorf("%d connections open", n)
	}
}

// wantInserted wants the server to have read what the client has sent, as far as it goes, with a GOAWAY at
// most, between frames.
func (b *duplex) wantInserted(ahead int) {
	b.t.Helper()
	if bytes.HasPrefix(b.sent, b.heard) {
		return
	}
	same := 0
	for same < min(len(b.sent), len(b.heard)) && b.sent[same] == b.heard[same] {
		same++
	}
	for at := max(0, same-17); at <= same; at++ {
		if rest, ok := bytes.CutPrefix(b.heard[at:], h2frame.GoAway(0)[:min(17, len(b.heard)-at)]); ok &&
			bytes.HasPrefix(b.sent[at:], rest) {
			f := h2frame.Scanner{Preface: ahead}
			if f.Scan(b.sent[:at]); f.Between() && f.Settings {
				return
			}
		}
	}
	b.t.Fatalf("sent %q, the server has read %q", b.sent, b.heard)
}

func rawFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func ack(n uint32) []byte {
	return rawFrame(h2frame.TypePing, h2frame.FlagAck, 0, h2frame.Ping(n)[h2frame.HeaderLen:])
}

// wantOurs wants the client to have what the server has said, as far as it goes, and only frames of ours besides.
func (b *duplex) wantOurs() {
	b.t.Helper()
	rest, first, pings := b.got, true, 0
	said := b.said
	for len(rest) > 0 {
		n := len(rest)
		if n >= h2frame.HeaderLen {
			n = min(n, h2frame.HeaderLen+int(rest[0])<<16+int(rest[1])<<8+int(rest[2]))
		}
		frame := rest[:n]
		rest = rest[n:]
		switch {
		case bytes.HasPrefix(said, frame) && n >= h2frame.HeaderLen:
			said = said[n:]
		case first || len(rest) > 0 &&
			!bytes.Equal(frame, h2frame.GoAway(h2frame.MaxStream)) && frame[3] != h2frame.TypePing:
			b.t.Fatalf("the server has said %q, the client has got %q", b.said, b.got)
		case frame[min(3, n-1)] == h2frame.TypePing:
			pings++
		}
		first = false
	}
}

// FuzzFramedConn: whatever the client sends and whenever it leaves, hurries, ends and closes, nothing panics
// or goes on, the server reads what was sent, and the client gets what was said.
func FuzzFramedConn(f *testing.F) {
	settings := rawFrame(h2frame.TypeSettings, 0, 0, nil)
	send := func(p []byte) []byte { return append([]byte{0, byte(len(p))}, p...) }
	// an acknowledgement that nobody waits for
	f.Add(slices.Concat([]byte{0, 64}, send(settings), []byte{5}, send(ack(1))))
	f.Add(slices.Concat([]byte{0, 64}, send(settings), []byte{5, 1, 20, 1, 1, 8, 4, 1, 1, 8, 4}))    // those that count
	f.Add(slices.Concat([]byte{0, 3}, send(settings), []byte{4, 2, 5, 1, 20, 0, 3, 0, 0, 4, 8, 80})) // half a frame
	f.Add(slices.Concat([]byte{2, 64}, send([]byte(h2frame.Preface)), send(settings), []byte{5, 1, 20, 6, 4, 7, 5, 9}))
	f.Add(slices.Concat([]byte{1, 1}, send([]byte(h2frame.Preface[:20]+"XXXX")), []byte{5, 1, 20, 3, 8, 9}))
	f.Add(slices.Concat([]byte{7, 64}, send(settings), []byte{5, 10, 20, 11, 2, 1, 8, 200, 9}))
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 2000 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			s := script(code)
			b := newDuplex(t)
			kind, size := s.next(), int(s.next())+1
			if kind&4 != 0 {
				b.depart(s.duration())
			}
			ahead := 0
			switch kind & 3 {
			case 0:
				b.server = newH2Conn(b.conn, b.conn, 0, nil, nil)
			case 1:
				ahead = len(h2frame.Preface)
				b.server = newH2Conn(b.conn, b.conn, ahead, nil, nil)
			case 2:
				ahead = len(h2frame.Preface)
				b.server = &front{Conn: b.conn, own: b.conn, missing: h2frame.Preface}
			default:
				ahead = len("SM\r\n\r\n")
				early := s.take(5)
				b.sent = slices.Clone(early)
				b.server = newH2Conn(b.conn, b.conn, ahead, slices.Clone(early), nil)
			}
			led := func(do func(*h2drain.Conn)) {
				if f := b.conn.http2.by.Load(); f != nil {
					do(f)
				}
				synctest.Wait()
			}
			b.run(size)
			for n := uint32(0); len(s) > 0; n++ {
				switch s.next() % 12 {
				case 0:
					b.send(s.take(int(s.next())))
				case 1: // an answer to some PING
					b.send(ack(uint32(s.next()) % 8))
				case 2:
					b.send(rawFrame(h2frame.TypeHeaders, s.next()&5, n, []byte("head")))
				case 3:
					b.conn.state.Store(s.state())
				case 4:
					b.say(rawFrame(h2frame.TypeHeaders, s.next()&5, 1, s.take(3)))
				case 5:
					b.say(rawFrame(h2frame.TypeSettings, 0, 0, nil))
					grace := s.duration()
					led(func(f *h2drain.Conn) { f.Leave(grace) })
				case 6:
					grace := s.duration()
					led(func(f *h2drain.Conn) { f.Hurry(grace) })
				case 7:
					led(func(f *h2drain.Conn) { f.Hurry(0) })
				case 8:
					time.Sleep(s.duration())
				case 9:
					_ = b.server.Close()
				case 10:
					_ = b.server.SetDeadline(time.Now().Add(s.duration()))
				case 11:
					_ = b.conn.close(s.next()&1 != 0)
				}
				synctest.Wait()
			}
			b.end()
			b.wantInserted(ahead)
			b.wantOurs()
		})
	})
}

// FuzzTLSConn: the same for a connection under crypto/tls, of which only the records can be seen.
func FuzzTLSConn(f *testing.F) {
	f.Add([]byte("\x40\x00\x07\x17\x03\x03\x00\x02ab\x02\x04\x04\xff\x05"))
	f.Add([]byte("\x01\x00\x05\x16\x03\x01\x00\x00\x00\x03\x17\x03\x03\x02\x01\x01\x02\x03\x08\x04\xff"))
	f.Add([]byte("\x10\x01\x01\x02\x04\x00\x06\x17\x03\x03\xff\xff\x00\x04\xff\x03\x01\x04\xff\x05\x04\xff\x06"))
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 2000 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			s := script(code)
			b := newDuplex(t)
			srv, over := &http.Server{}, tls.Server(b.conn, &tls.Config{})
			b.conn.wrapper.seen.Store(true)
			b.conn.onState(srv, over, http.StateNew)
			b.server = b.conn
			b.run(int(s.next()) + 1)
			for len(s) > 0 {
				switch s.next() % 8 {
				case 0:
					b.send(s.take(int(s.next())))
				case 1:
					if state := s.state(); state > 0 && state-1 != int32(http.StateClosed) {
						b.conn.onState(srv, over, http.ConnState(state-1))
					}
				case 2:
					b.depart(s.duration())
					b.conn.interruptRead()
				case 3:
					b.set.Hurry(s.duration())
				case 4:
					time.Sleep(s.duration())
				case 5:
					_ = b.conn.SetDeadline(time.Now().Add(s.duration()))
				case 6:
					b.say(s.take(int(s.next() % 8)))
				case 7:
					_ = b.conn.close(s.next()&1 != 0)
				}
				synctest.Wait()
			}
			b.end()
			if !bytes.HasPrefix(b.sent, b.heard) || !bytes.HasPrefix(b.said, b.got) {
				t.Errorf("sent %q, the server has read %q; said %q, the client has got %q",
					b.sent, b.heard, b.said, b.got)
			}
		})
	})
}
