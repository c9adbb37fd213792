package h2drain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// hose is a connection from which a test reads what it has put in, and whose writes it collects. As one of TLS that has
// read ahead, it has that for who reads after the deadline, too.
type hose struct {
	net.Conn // nil
	mu       sync.Mutex
	in, out  bytes.Buffer
	late     bool
	full     bool // it takes room more bytes, and then nothing
	room     int
	ends     []string // how it was closed
}

func (h *hose) Read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.in.Len() > 0:
		return h.in.Read(p)
	case h.late:
		return 0, os.ErrDeadlineExceeded
	}
	return 0, io.EOF
}

func (h *hose) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.full && len(p) > h.room {
		n, _ := h.out.Write(p[:h.room])
		h.room = 0
		return n, os.ErrDeadlineExceeded
	}
	return h.out.Write(p)
}

// put is what is to be read next.
func (h *hose) put(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in.Write(p)
}

func (h *hose) wrote() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Clone(h.out.Bytes())
}

func (h *hose) end(how string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = append(h.ends, how)
	return nil
}

func (h *hose) SetReadDeadline(at time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = !at.IsZero() && time.Now().After(at)
	return nil
}

func (h *hose) SetWriteDeadline(time.Time) error { return nil }
func (h *hose) CloseWrite() error                { return h.end("CloseWrite") }
func (h *hose) Close() error                     { return h.end("Close") }

// hosed is a Conn on which both sides have sent SETTINGS.
func hosed(t testing.TB) (*Conn, *hose) {
	t.Helper()
	h := &hose{}
	f := &Conn{Conn: h, below: new(nether)}
	_, _ = f.Write(written(h2frame.TypeSettings, 0, 0, nil))
	feed(t, f, written(h2frame.TypeSettings, 0, 0, nil))
	return f, h
}

// feed makes the server read b.
func feed(t testing.TB, f *Conn, b []byte) {
	f.Conn.(*hose).put(b)
	var buf [4096]byte
	for n := 0; n < len(b); {
		k, err := f.Read(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
}

func acked(n uint32) []byte {
	return written(h2frame.TypePing, h2frame.FlagAck, 0, h2frame.Ping(n)[h2frame.HeaderLen:])
}

// An acknowledgement counts once, if it is that of the PING that was sent last and not acknowledged: in every state.
func TestOnlyAnAwaitedAcknowledgementCounts(t *testing.T) {
	pings := func(h *hose) int {
		return bytes.Count(h.wrote(), []byte{8, h2frame.TypePing, 0, 0, 0, 0, 0, 'b', 'a', 't', 'o', 'n'})
	}
	forged := []uint32{0, 1, 2, 3, 4, 0xffff, 0xfffffe, 0xffffff}
	synctest.Test(t, func(t *testing.T) {
		f, h := hosed(t)
		for _, n := range forged {
			feed(t, f, acked(n)) // nobody leaves
		}
		f.Leave(time.Hour)
		for sent := 1; sent <= QuietRounds+1; sent++ {
			if got := pings(h); got != sent {
				t.Fatalf("%d PINGs sent, want %d", got, sent)
			}
			for _, n := range forged {
				if n != uint32(sent) {
					feed(t, f, acked(n))
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := pings(h); got != sent || f.ended.Load() {
				t.Fatalf("%d PINGs sent, want %d; ended %v", got, sent, f.ended.Load())
			}
			for range 3 {
				feed(t, f, acked(uint32(sent)))
			}
			for pings(h) == sent && !f.ended.Load() {
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		if n := bytes.Count(h.wrote(), h2frame.GoAway(h2frame.MaxStream)); !f.ended.Load() || n != 1 {
			t.Errorf("ended %v, %d GOAWAYs, want one", f.ended.Load(), n)
		}
		for _, n := range forged {
			h.put(acked(n))
		}
		if _, err := io.Copy(io.Discard, f); err != nil || !f.told.Load() {
			t.Errorf("%v, told %v", err, f.told.Load())
		}
		_ = f.Close()
	})
}

// What a client sends that nobody has asked for costs no memory.
func TestForgedAcknowledgementsAllocateNothing(t *testing.T) {
	for _, leaving := range []bool{false, true} {
		t.Run(fmt.Sprint("leaving ", leaving), func(t *testing.T) {
			f, h := hosed(t)
			if leaving {
				f.Leave(time.Hour)
			}
			defer f.Close()
			var buf [4096]byte
			n := uint32(1)
			h.in.Grow(1 << 10)
			var frames [][]byte
			for range 1100 {
				n++
				frames = append(frames, acked(n))
			}
			i := 0
			if got := testing.AllocsPerRun(1000, func() {
				h.put(frames[i])
				i++
				_, _ = f.Read(buf[:])
			}); got != 0 {
				t.Errorf("%v allocations for a frame", got)
			}
		})
	}
}

// Every timer of a connection's end goes with it, whatever it was about to do.
func TestNothingGoesOnAfterClose(t *testing.T) {
	for name, until := range map[string]func(t *testing.T, f *Conn){
		"left":    func(t *testing.T, f *Conn) { f.Leave(time.Minute) },
		"heard":   func(t *testing.T, f *Conn) { f.Leave(time.Minute); feed(t, f, acked(1)) },
		"hurried": func(t *testing.T, f *Conn) { f.Hurry(time.Minute); f.Hurry(time.Second) },
		"ended":   func(t *testing.T, f *Conn) { f.Leave(time.Second); time.Sleep(2 * liveMost) },
		"closed":  func(t *testing.T, f *Conn) { _ = f.Close(); f.Leave(time.Minute); f.Hurry(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := hosed(t)
				until(t, f)
				_ = f.Close()
				said := len(h.wrote())
				was := f.ended.Load()
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(h.wrote()) != said || f.ended.Load() != was {
					t.Errorf("%d bytes written, were %d; ended %v, was %v", len(h.wrote()), said, f.ended.Load(), was)
				}
			})
		})
	}
}

// What is due is left with the server's next write, in no hurry. A Leave that comes then has a grace of its
// own, if that is shorter, and so has the next.
func TestDueIsLeftWithTheNextWrite(t *testing.T) {
	for name, x := range map[string]struct {
		leaves []time.Duration // each a second after the one before
		want   time.Duration   // until the server is told; the client answers nothing
	}{
		"no Leave":             {nil, dueGrace},
		"shorter":              {[]time.Duration{5 * time.Second}, 6 * time.Second},
		"longer":               {[]time.Duration{time.Hour}, dueGrace},
		"shorter, then longer": {[]time.Duration{5 * time.Second, time.Minute}, 6 * time.Second},
		"shorter and shorter":  {[]time.Duration{5 * time.Second, time.Second}, 2*time.Second + liveMost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := hosed(t)
				defer f.Close()
				f.below.(*nether).due = true
				said := len(h.wrote())
				time.Sleep(time.Hour)
				if f.drain.Load() != nil || len(h.wrote()) != said {
					t.Error("left without a write")
				}
				begin := time.Now()
				for range 2 {
					_, _ = f.Write(written(0, 0, 1, nil))
				}
				words := append(h2frame.GoAway(h2frame.MaxStream), h2frame.Ping(1)...)
				if n := bytes.Count(h.wrote(), words); n != 1 {
					t.Errorf("%d times a GOAWAY and a PING", n)
				}
				for _, grace := range x.leaves {
					time.Sleep(time.Second)
					f.Leave(grace)
				}
				for !f.ended.Load() {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				if got := time.Since(begin); got != x.want {
					t.Errorf("told after %v, want %v", got, x.want)
				}
			})
		})
	}
}

// The server's deadline holds whatever wakes its reader, and so does one that it sets before the reader has noticed.
func TestDeadlinesOfTheServerHold(t *testing.T) {
	for name, wakes := range map[string]func(f *Conn, set func()){
		"no wake":       func(_ *Conn, set func()) { set() },
		"woken":         func(f *Conn, set func()) { set(); time.AfterFunc(time.Second, f.Rests) },
		"about to wake": func(f *Conn, set func()) { f.Rests(); set() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				f := &Conn{Conn: far, below: new(nether)}
				f.move.Store(&move{})
				for range 2 {
					at := time.Now().Add(time.Minute)
					wakes(f, func() { _ = f.SetDeadline(at) })
					_, err := f.Read(make([]byte, 1))
					if !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Equal(at) {
						t.Errorf("%v at %v, want a timeout at %v", err, time.Now(), at)
					}
				}
				_ = near.Close()
				_ = far.Close()
			})
		})
	}
}
