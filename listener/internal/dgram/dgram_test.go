//go:build unix

package dgram

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// loop returns a UDP socket that is connected to nobody, behind a gate, and a client of it.
func loop(t testing.TB, cfg Config) (g *Gate, pc udpConn, client net.Conn) {
	t.Helper()
	raw, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g = New(raw, cfg)
	pc = g.Conn().(udpConn)
	t.Cleanup(func() { _ = pc.Close() })
	if client, err = net.Dial("udp", raw.LocalAddr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return g, pc, client
}

type result struct {
	text string
	err  error
}

func startRead(pc net.Conn) <-chan result {
	done := make(chan result, 1)
	go func() {
		var b [64]byte
		n, err := pc.Read(b[:])
		done <- result{string(b[:n]), err}
	}()
	return done
}

func send(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func await(t testing.TB, g *Gate, readers int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); g.Readers() != readers; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d read, want %d", g.Readers(), readers)
		}
	}
}

// A read waits while the gate is held or paused, and gets what has come meanwhile when it opens.
func TestReadsWaitForTheGate(t *testing.T) {
	g, pc, client := loop(t, Config{})
	read := startRead(pc)
	send(t, client, "early")
	await(t, g, 0)
	g.Pass(context.Background(), Open)
	if got := <-read; got.text != "early" || got.err != nil {
		t.Errorf("after Open: %+v", got)
	}
	read = startRead(pc)
	await(t, g, 1)
	g.Pass(context.Background(), Paused)
	if n := g.Readers(); n != 0 || !g.At(Paused) {
		t.Errorf("%d read after Pass", n)
	}
	send(t, client, "meanwhile")
	g.Resume()
	if got := <-read; got.text != "meanwhile" || got.err != nil {
		t.Errorf("after Resume: %+v", got)
	}
	g.Pass(context.Background(), Ended)
	g.Pass(context.Background(), Open) // no way back
	g.Resume()
	if got := <-startRead(pc); !errors.Is(got.err, net.ErrClosed) {
		t.Errorf("after the end: %+v", got)
	}
}

// A gate that drains lets what is queued be read, and then ends reads.
func TestDrainingGate(t *testing.T) {
	g, pc, client := loop(t, Config{Open: true})
	send(t, client, "one")
	send(t, client, "two")
	g.Pass(context.Background(), Draining)
	for _, want := range []string{"one", "two"} {
		if got := <-startRead(pc); got.text != want || got.err != nil {
			t.Errorf("%+v, want %s", got, want)
		}
	}
	if got := <-startRead(pc); !errors.Is(got.err, net.ErrClosed) || !g.At(Ended) {
		t.Errorf("with nothing left: %+v", got)
	}
}

// The user's deadline holds at a gate that is held, too.
func TestDeadlineAtTheGate(t *testing.T) {
	_, pc, _ := loop(t, Config{})
	_ = pc.SetReadDeadline(time.Now().Add(time.Millisecond))
	if got := <-startRead(pc); !errors.Is(got.err, os.ErrDeadlineExceeded) {
		t.Errorf("%+v", got)
	}
}

// One that was set while the gate was open holds, too, for a read that waits.
func TestDeadlineBeforeAPause(t *testing.T) {
	g, pc, _ := loop(t, Config{Open: true})
	_ = pc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	read := startRead(pc)
	await(t, g, 1)
	g.Pass(context.Background(), Paused)
	select {
	case got := <-read:
		if !errors.Is(got.err, os.ErrDeadlineExceeded) {
			t.Errorf("%+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for more than its time")
	}
}

// Closing is called by the first Close alone; the file goes where nobody else has a use for it.
func TestCloseOfTheGate(t *testing.T) {
	for _, x := range []struct {
		removes, open, stays bool
	}{{false, false, false}, {false, true, true}, {true, true, false}} {
		path := t.TempDir() + "/f"
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		calls := 0
		_, pc, _ := loop(t, Config{Path: path, RemovesFile: x.removes, Open: x.open, Closing: func(*Gate) { calls++ }})
		_ = pc.Close()
		_ = pc.Close()
		if _, err := os.Stat(path); (err == nil) != x.stays || calls != 1 {
			t.Errorf("%+v: %v, Closing was called %d times", x, err, calls)
		}
	}
}

func BenchmarkReadDatagram(b *testing.B) {
	for _, kind := range []string{"bare", "gate"} {
		b.Run(kind, func(b *testing.B) {
			_, from, _ := loop(b, Config{Open: true})
			to := from.LocalAddr().(*net.UDPAddr).AddrPort()
			read := from.ReadFromUDPAddrPort
			if kind == "bare" {
				read = from.UDPConn.ReadFromUDPAddrPort
			}
			buf := make([]byte, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := from.WriteToUDPAddrPort(buf, to); err != nil {
					b.Fatal(err)
				}
				if _, _, err := read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A reader that is slow to come back may find the gate open again. It was told to wait, and is not at its deadline.
func TestAReaderThatIsLateGoesOn(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := New(pc, Config{Open: true})
	defer g.Close()
	for _, own := range []bool{false, true} {
		calls := 0
		if own {
			_ = g.setReadDeadline(time.Unix(1, 0))
		}
		err := g.read(func() error {
			if calls++; calls > 1 {
				return nil
			}
			ctx, over := context.WithCancel(t.Context())
			over()
			g.Pass(ctx, Paused)
			g.Resume()
			return os.ErrDeadlineExceeded
		})
		if errors.Is(err, os.ErrDeadlineExceeded) != own {
			t.Errorf("a deadline of its own: %v; the read ends with %v after %d calls", own, err, calls)
		}
	}
}
