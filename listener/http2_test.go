//go:build unix

package listener

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/listener/internal/h2drain"
	"github.com/baton-go/baton/listener/internal/h2frame"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// h2 is a client of HTTP/2 that does what the test says, and no more.
type h2 struct {
	t       testing.TB
	nc      net.Conn
	br      *bufio.Reader
	bodies  map[uint32]string // of the answers
	ended   map[uint32]bool   // the answers that are complete
	granted int               // what WINDOW_UPDATE has added to the connection's window
	pings   []frameRead       // that have come before an answer
}

type frameRead struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// serveHTTP2 starts a generation for either kind of HTTP/2.
func serveHTTP2(t testing.TB, kind string, srv *http.Server) *generation {
	t.Helper()
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	if kind == "h2" {
		return secure(t, srv, "h2", "http/1.1")
	}
	return next(t, nil, srv)
}

// dialHTTP2 connects, and has exchanged SETTINGS when it returns.
func dialHTTP2(t testing.TB, g *generation, kind string) *h2 {
	t.Helper()
	nc := dial(t, g).nc
	if kind == "h2" {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	return greetHTTP2(t, g, nc)
}

func greetHTTP2(t testing.TB, g *generation, nc net.Conn) *h2 {
	t.Helper()
	c := &h2{t: t, nc: nc, br: bufio.NewReader(nc), bodies: map[uint32]string{}, ended: map[uint32]bool{}}
	c.send([]byte(h2frame.Preface))
	c.frame(4, 0, 0, nil)
	for acked := false; !acked; {
		f := c.next()
		if f.kind == 4 && f.flags&h2frame.FlagAck != 0 {
			acked = true
		}
	}
	g.await(t, "not HTTP/2", func(n Counts) bool { return n.HTTP2 > 0 })
	return c
}

func (c *h2) send(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *h2) frame(kind, flags byte, stream uint32, payload []byte) {
	c.t.Helper()
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	c.send(append(binary.BigEndian.AppendUint32(b, stream), payload...))
}

// postHead is the header block of a POST of "/", without any indexing.
var postHead = []byte{0x83, 0x86, 0x84, 0x01, 1, 'x'}

// post sends a whole request.
func (c *h2) post(stream uint32, body string) {
	c.t.Helper()
	c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, stream, postHead)
	c.frame(0, 1, stream, []byte(body))
}

// next reads a frame; of answers it keeps what they say.
func (c *h2) next() frameRead {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("want a frame: %v", err)
	}
	return f
}

func (c *h2) read() (f frameRead, err error) {
	var head [h2frame.HeaderLen]byte
	if _, err := io.ReadFull(c.br, head[:]); err != nil {
		return f, err
	}
	f = frameRead{head[3], head[4], binary.BigEndian.Uint32(head[5:]),
		make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))}
	_, err = io.ReadFull(c.br, f.payload)
	if f.kind == 0 {
		c.bodies[f.stream] += string(f.payload)
		c.ended[f.stream] = f.flags&1 != 0
	}
	if f.kind == h2frame.TypeWindow && f.stream == 0 {
		c.granted += int(binary.BigEndian.Uint32(f.payload))
	}
	return f, err
}

// asks tells whether f is a PING to be answered.
func (f frameRead) asks() bool { return f.kind == h2frame.TypePing && f.flags&h2frame.FlagAck == 0 }

// answers tells whether f may belong to an answer: DATA, HEADERS, WINDOW_UPDATE, SETTINGS.
func (f frameRead) answers() bool { return f.kind <= 1 || f.kind == 8 || f.kind == 4 }

// until reads up to a frame of the kind, and wants nothing but answers before.
func (c *h2) until(kind byte) frameRead {
	c.t.Helper()
	if kind == h2frame.TypePing && len(c.pings) > 0 {
		f := c.pings[0]
		c.pings = c.pings[1:]
		return f
	}
	for {
		f := c.next()
		switch {
		case f.kind == kind && (kind != h2frame.TypePing || f.asks()):
			return f
		case !f.answers():
			c.t.Fatalf("want a frame of kind %d, got %+v", kind, f)
		}
	}
}

// wantGoAway wants a GOAWAY without an error.
func (c *h2) wantGoAway(last uint32) {
	c.t.Helper()
	f := c.until(h2frame.TypeGoAway)
	got, code := binary.BigEndian.Uint32(f.payload), binary.BigEndian.Uint32(f.payload[4:])
	if got != last || code != 0 {
		c.t.Fatalf("GOAWAY for streams above %d with code %d, want %d, 0", got, code, last)
	}
}

// pong answers the next PING.
func (c *h2) pong() {
	c.t.Helper()
	c.frame(h2frame.TypePing, h2frame.FlagAck, 0, c.until(h2frame.TypePing).payload)
}

// calm answers PINGs, without anything new, until the server is told.
func (c *h2) calm() {
	c.t.Helper()
	for range h2drain.QuietRounds {
		c.pong()
	}
}

// wantAnswer wants one that has the body. A PING may come before it, where the handler is slow: pong answers that.
func (c *h2) wantAnswer(stream uint32, body string) {
	c.t.Helper()
	for !c.ended[stream] {
		switch f := c.next(); {
		case f.asks():
			c.pings = append(c.pings, f)
		case !f.answers():
			c.t.Fatalf("want an answer, got %+v", f)
		}
	}
	if got := c.bodies[stream]; got != body {
		c.t.Fatalf("stream %d: %.20q, want %.20q", stream, got, body)
	}
}

// goesOn wants that answer after a GOAWAY that lets everything pass, and answers PINGs meanwhile.
func (c *h2) goesOn(stream uint32, body string) {
	c.t.Helper()
	for !c.ended[stream] {
		switch f := c.next(); {
		case f.asks():
			c.frame(h2frame.TypePing, h2frame.FlagAck, 0, f.payload)
		case f.kind == h2frame.TypeGoAway && binary.BigEndian.Uint32(f.payload) < stream:
			c.t.Fatalf("GOAWAY for streams above %d", binary.BigEndian.Uint32(f.payload))
		}
	}
	c.wantAnswer(stream, body)
}

var bothKinds = []string{"h2", "h2c"}

// eachKind runs a test for both, at the same time as others.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// What the client sends before it knows is answered, and so is what Go's client was about to send when it
// learned; net/http learns of the end when all that has arrived.
func TestHTTP2AnswersWhatTheClientBeganBeforeItKnew(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one := serveHTTP2(t, kind, &http.Server{})
		c := dialHTTP2(t, one, kind)
		c.post(1, "before")
		c.wantAnswer(1, "before")
		wait := one.depart(t, nil, time.Minute)
		c.wantGoAway(h2frame.MaxStream)
		c.post(3, "on its way")
		c.pong()
		c.wantAnswer(3, "on its way")
		c.post(5, "about to be sent")
		c.pong()
		c.wantAnswer(5, "about to be sent")
		c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 7, postHead)
		c.pong()
		c.calm()
		c.wantGoAway(7)
		c.frame(0, 1, 7, []byte("slow"))
		c.wantAnswer(7, "slow")
		_ = c.nc.Close()
		wait()
		if n := one.set.Counts(); n.Moved != 0 || n.Lost != 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestHTTP2ThatHasNotBegunARequestEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one := serveHTTP2(t, kind, &http.Server{})
		c := dialHTTP2(t, one, kind)
		// A connection without TLS has half of the grace to move.
		wait := one.depart(t, one.handTo(next(t, nil, &http.Server{})), 4*time.Second)
		c.wantGoAway(h2frame.MaxStream)
		c.pong()
		c.calm()
		c.wantGoAway(0)
		wait() // net/http closes
		if f, err := c.read(); err == nil {
			t.Errorf("got %+v, want the end", f)
		}
	})
}

// A connection that becomes HTTP/2 when the set leaves already is told too, after the server's SETTINGS.
func TestHTTP2ThatBeginsWhileLeavingEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one := serveHTTP2(t, kind, &http.Server{})
		nc := dial(t, one).nc
		if kind == "h2" {
			tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			check(t, tc.Handshake())
			nc = tc
		}
		c := &h2{t: t, nc: nc, br: bufio.NewReader(nc), bodies: map[uint32]string{}, ended: map[uint32]bool{}}
		c.send([]byte(h2frame.Preface[:10]))
		one.wantHeard(t, 1)
		wait := one.depart(t, nil, time.Minute)
		c.send([]byte(h2frame.Preface[10:]))
		c.frame(4, 0, 0, nil)
		if f := c.next(); f.kind != 4 {
			t.Fatalf("the first frame is %+v, want SETTINGS", f)
		}
		c.post(1, "first")
		c.wantGoAway(h2frame.MaxStream)
		c.pong()
		c.wantAnswer(1, "first")
		c.calm()
		c.wantGoAway(1)
		_ = c.nc.Close()
		wait()
	})
}

// Nothing may be put into a header block; a body may come late.
func TestHTTP2WithoutPongsEndsBetweenFrames(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		one := serveHTTP2(t, kind, &http.Server{})
		idle, half, block := dialHTTP2(t, one, kind), dialHTTP2(t, one, kind), dialHTTP2(t, one, kind)
		half.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 1, postHead)
		half.send([]byte{0, 0, 4, 0, 1, 0, 0, 0, 1, 'h', 'a'})
		block.frame(h2frame.TypeHeaders, 0, 1, postHead[:3])
		one.await(t, "unread", func(Counts) bool { return one.unread() == 0 })
		// after less a busy machine may come to its end before it says its beginning
		wait := one.depart(t, nil, 2*time.Second)
		idle.wantGoAway(h2frame.MaxStream)
		idle.until(h2frame.TypePing)
		for _, c := range []*h2{half, block} {
			c.wantGoAway(h2frame.MaxStream)
			c.until(h2frame.TypePing)
		}
		block.frame(h2frame.TypeContinued, h2frame.FlagEndBlock, 1, postHead[3:])
		idle.wantGoAway(0)
		// The idle one is gone: time is over for all.
		one.await(t, "not told", func(n Counts) bool { return n.HTTP2 < 3 })
		half.send([]byte("lf"))
		half.wantGoAway(1)
		half.wantAnswer(1, "half")
		block.wantGoAway(1)
		block.frame(0, 1, 1, []byte("late"))
		block.wantAnswer(1, "late")
		wait()
	})
}

// What a client has begun, where no request is under way, and does not go on with, gets one grace. It is no
// failure, and no loss.
func TestHTTP2BeginningsGetOneGrace(t *testing.T) {
	t.Parallel()
	var settings = rawFrame(h2frame.TypeSettings, 0, 0, nil)
	for name, said := range map[string][]byte{
		"half a preface":   []byte(h2frame.Preface[:20]),
		"no settings":      []byte(h2frame.Preface),
		"half of settings": append([]byte(h2frame.Preface), settings[:8]...),
		"half a header":    append([]byte(h2frame.Preface+string(settings)), 0, 0, 4, h2frame.TypeHeaders),
		"one byte":         append([]byte(h2frame.Preface+string(settings)), 0),
		"half a header block": append([]byte(h2frame.Preface+string(settings)),
			rawFrame(h2frame.TypeHeaders, h2frame.FlagEndBlock, 1, postHead)[:h2frame.HeaderLen+2]...),
		"headers without end": append([]byte(h2frame.Preface+string(settings)),
			rawFrame(h2frame.TypeHeaders, 0, 1, postHead)...),
		"half a continuation": append([]byte(h2frame.Preface+string(settings)+string(rawFrame(h2frame.TypeHeaders, 0, 1,
			postHead[:3]))), 0, 0, 3, h2frame.TypeContinued, 0),
		"half a ping": append([]byte(h2frame.Preface+string(settings)), h2frame.Ping(1)[:12]...),
		"half an ack": append([]byte(h2frame.Preface+string(settings)),
			rawFrame(h2frame.TypePing, h2frame.FlagAck, 0, h2frame.Ping(1)[h2frame.HeaderLen:])[:16]...),
		"half a frame of 16 k": append([]byte(h2frame.Preface+string(settings)), 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 'x'),
	} {
		for _, kind := range bothKinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				one := serveHTTP2(t, kind, &http.Server{ErrorLog: log.New(io.Discard, "", 0)})
				nc := dial(t, one).nc
				if kind == "h2" {
					tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
					check(t, tc.Handshake())
					nc = tc
				}
				mustWrite(t, nc, string(said))
				one.await(t, "not read", func(n Counts) bool { return n.Open() == 1 && one.unread() == 0 })
				const grace = 300 * time.Millisecond
				start := time.Now()
				one.depart(t, nil, grace)()
				if took := time.Since(start); took > patience/2 {
					t.Errorf("took %v", took)
				}
				if n := one.set.Counts(); n.Lost != 0 {
					t.Errorf("%+v", n)
				}
			})
		}
	}
}

// A client that reads nothing gets no GOAWAY, and must not keep anybody longer than its time.
func TestHTTP2ClientThatDoesNotReadHoldsNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for ten seconds")
	}
	eachKind(t, func(t *testing.T, kind string) {
		stuck := make(chan error, 1)
		one := serveHTTP2(t, kind, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					stuck <- err
					return
				}
			}
		})})
		c := dialHTTP2(t, one, kind)
		c.frame(4, 0, 0, []byte{0, 4, 0x7f, 0xff, 0xff, 0xff}) // SETTINGS: a window of 2 GiB for each stream
		c.frame(8, 0, 0, []byte{0x7f, 0, 0, 0})
		c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|1, 1, postHead)
		queued := -1
		one.await(t, "no write blocks", func(Counts) bool {
			was := queued
			for _, own := range one.set.all() {
				queued = sockopt.Unsent(own.Conn)
			}
			return queued == was && (queued > 0 || !sockopt.SeesQueues)
		})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := one.set.Leave(ctx, nil, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Leave: %v", err)
		}
		if left := one.set.Close(); left.HTTP2 != 1 {
			t.Errorf("%+v", left)
		}
		select {
		case <-stuck:
		case <-time.After(patience):
			t.Error("the handler still writes")
		}
	})
}

// Nor may it keep the others, nor who calls Leave or Hurry, where its buffer is full and nobody writes just then.
func TestHTTP2ClientThatDoesNotReadHoldsNoOther(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		for name, test := range map[string]func(t *testing.T, one *generation, other *client){
			"Leave": func(t *testing.T, one *generation, other *client) {
				ctx, cancel := context.WithCancel(context.Background())
				defer one.set.Close() // before Leave is waited for
				defer cancel()
				go func() { _ = one.set.Leave(ctx, nil, 20*time.Millisecond) }()
				_ = other.nc.SetReadDeadline(time.Now().Add(patience / 2))
				if _, err := other.br.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("another client, at rest: %v, want the end", err)
				}
			},
			"Hurry": func(t *testing.T, one *generation, _ *client) {
				ctx, cancel := context.WithCancel(context.Background())
				defer one.set.Close()
				defer cancel()
				refuse := func(tickets []Ticket, _ []syscall.Conn) ([]bool, error) {
					return make([]bool, len(tickets)), nil
				}
				go func() { _ = one.set.Leave(ctx, refuse, time.Hour) }() // which tells those that may move later
				<-one.set.Shut()
				over := make(chan struct{})
				go func() {
					defer close(over)
					one.set.Hurry(20 * time.Millisecond)
				}()
				select {
				case <-over:
				case <-time.After(patience / 2):
					t.Error("Hurry has not returned")
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				begun, end := make(chan struct{}), make(chan struct{})
				defer close(end)
				h := func(_ http.ResponseWriter, r *http.Request) {
					if r.ProtoMajor == 2 {
						close(begun)
						<-end
					}
				}
				one := firstHTTP2(t, kind, &http.Server{Handler: http.HandlerFunc(h)})
				c := dialHTTP2(t, one, kind)
				c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|h2frame.FlagEndStream, 1, postHead)
				<-begun
				for _, own := range one.set.all() {
					fill(own.Conn)
				}
				other := dial(t, one)
				if kind == "h2" {
					nc := tls.Client(other.nc, &tls.Config{InsecureSkipVerify: true})
					other.nc, other.br = nc, bufio.NewReader(nc)
				}
				other.ask("")
				time.Sleep(50 * time.Millisecond) // the server reads again
				test(t, one, other)
			})
		}
	})
}

// fill writes until the buffers of a connection are full, and do not grow.
func fill(nc net.Conn) {
	for more := true; more; {
		more = false
		_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		for err := error(nil); err == nil; {
			var n int
			n, err = nc.Write(make([]byte, 64<<10))
			more = more || n > 0
		}
	}
	_ = nc.SetWriteDeadline(time.Time{})
}

// transport is Go's client.
func transport(t testing.TB, kind string) (tr *http.Transport, scheme string) {
	tr, scheme = &http.Transport{Protocols: new(http.Protocols),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, "http"
	if kind == "h2" {
		tr.Protocols.SetHTTP2(true)
		scheme = "https"
	} else {
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr, scheme
}

// Long uploads and downloads, with all their frames, get through the GOAWAY that comes in the middle.
func TestHTTP2TransfersSurviveTheEnd(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		begun := make(chan struct{}, 8)
		one := serveHTTP2(t, kind, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			_, _ = io.Copy(w, r.Body)
		})})
		tr, scheme := transport(t, kind)
		type result struct {
			n   int
			err error
		}
		results := make(chan result, 4)
		var pipes []*io.PipeWriter
		for i := range 4 {
			r, w := io.Pipe()
			pipes = append(pipes, w)
			go func() {
				resp, err := (&http.Client{Transport: tr}).Post(scheme+"://"+one.ln.Addr().String(), "", r)
				if err != nil {
					results <- result{0, err}
					return
				}
				got, err := io.ReadAll(resp.Body)
				if err == nil && len(bytes.Trim(got, string(rune('a'+i)))) > 0 {
					err = errors.New("another stream's bytes")
				}
				results <- result{len(got), err}
			}()
		}
		const size = 1 << 20
		chunk := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, size/2) }
		for i, w := range pipes {
			_, _ = w.Write(chunk(i))
		}
		for range pipes {
			<-begun
		}
		wait := one.depart(t, nil, 10*time.Millisecond)
		for i, w := range pipes {
			_, _ = w.Write(chunk(i))
			_ = w.Close()
		}
		for range pipes {
			if r := <-results; r.n != size || r.err != nil {
				t.Errorf("%d bytes, %v, want %d", r.n, r.err, size)
			}
		}
		wait()
	})
}

// What the kernel has of the last answer is not thrown away because of what the client sends meanwhile.
func TestHTTP2ClientThatIsSlowGetsTheEndOfItsAnswer(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what has been delivered")
	}
	eachKind(t, func(t *testing.T, kind string) {
		const size = 600 << 10
		release := make(chan struct{})
		one := serveHTTP2(t, kind, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-release
			_, _ = w.Write(make([]byte, size))
		})})
		c := dialHTTP2(t, one, kind)
		c.frame(4, 0, 0, []byte{0, 4, 0x7f, 0xff, 0xff, 0xff}) // SETTINGS: a window of 2 GiB for each stream
		c.frame(8, 0, 0, []byte{0x7f, 0, 0, 0})
		wait := one.depart(t, nil, time.Minute)
		own := one.set.all()[0]
		c.wantGoAway(h2frame.MaxStream)
		c.pong()
		if raw, ok := own.Conn.(*net.TCPConn); ok {
			_ = raw.SetWriteBuffer(2 << 20)
		}
		plain, _ := c.nc.(interface{ NetConn() net.Conn })
		raw := c.nc
		if plain != nil {
			raw = plain.NetConn()
		}
		_ = raw.(*net.TCPConn).SetReadBuffer(32 << 10)
		c.frame(h2frame.TypeHeaders, h2frame.FlagEndBlock|1, 1, postHead)
		c.pong()
		c.calm()
		c.wantGoAway(1)
		close(release)
		one.await(t, "the server does not close", func(n Counts) bool {
			return n.Open() == 0 ||
				own.http2.by.Load().Lingers.Load()
		})
		for range 3 {
			_, _ = c.nc.Write([]byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0}) // WINDOW_UPDATE
		}
		got := 0
		for {
			f, err := c.read()
			if err != nil {
				break
			}
			if f.kind == 0 {
				got += len(f.payload)
			}
		}
		if got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
		_ = c.nc.Close()
		wait()
	})
}

// Whoever looks at the connections of a server sees those that it has accepted, and requests know their TLS.
func TestHTTP2IsWhatItWasToTheUser(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		var strange, states atomic.Int32
		type key struct{}
		srv := &http.Server{
			BaseContext: func(net.Listener) context.Context {
				return context.WithValue(context.Background(), key{}, "base")
			},
			ConnState: func(nc net.Conn, _ http.ConnState) {
				states.Add(1)
				if _, ok := nc.(*tls.Conn); ok != (kind == "h2") || nc != accepted(nc) {
					strange.Add(1)
				}
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				encrypted := r.TLS != nil && r.TLS.NegotiatedProtocol == "h2"
				_, _ = fmt.Fprint(w, r.Proto, " ", encrypted, " ", r.Context().Value(key{}), " ", Requests(r.Context()))
			}),
		}
		one := serveHTTP2(t, kind, srv)
		tr, scheme := transport(t, kind)
		resp, err := (&http.Client{Transport: tr}).Post(scheme+"://"+one.ln.Addr().String(), "", strings.NewReader("x"))
		check(t, err)
		got, _ := io.ReadAll(resp.Body)
		if want := fmt.Sprint("HTTP/2.0 ", kind == "h2", " base "); !strings.HasPrefix(string(got), want) ||
			strings.HasSuffix(string(got), " 0") {
			t.Errorf("%q, want %q and a number", got, want)
		}
		if strange.Load() > 0 || states.Load() == 0 {
			t.Errorf("%d of %d calls of ConnState with another type", strange.Load(), states.Load())
		}
	})
}

// RFC 9113, 9.2.2: servers refuse such ciphers, if they see what the connection uses.
func TestHTTP2RefusesOldCiphersAsEver(t *testing.T) {
	one := serveHTTP2(t, "h2", &http.Server{})
	nc := tls.Client(dial(t, one).nc, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	})
	c := &h2{t: t, nc: nc, br: bufio.NewReader(nc), bodies: map[uint32]string{}, ended: map[uint32]bool{}}
	c.send([]byte(h2frame.Preface))
	const inadequateSecurity = 0xc
	if f := c.until(h2frame.TypeGoAway); binary.BigEndian.Uint32(f.payload[4:]) != inadequateSecurity {
		t.Errorf("%+v", f)
	}
}
