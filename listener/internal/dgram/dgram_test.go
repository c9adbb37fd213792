//go:build unix

package dgram

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
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

// startWaiting starts a read, which waits at the gate with a deadline in an hour.
func startWaiting(t testing.TB, g *Gate, pc net.Conn) <-chan result {
	t.Helper()
	_ = pc.SetReadDeadline(time.Now().Add(time.Hour))
	read := startRead(pc)
	waits := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.timer != nil
	}
	for end := time.Now().Add(time.Minute); !waits(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the read does not wait")
		}
	}
	return read
}

// A read waits while the gate is held or paused, and gets what has come meanwhile when it opens.
func TestReadsWaitForTheGate(t *testing.T) {
	g, pc, client := loop(t, Config{})
	read := startWaiting(t, g, pc)
	send(t, client, "early")
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

// Each Pass waits for the reads under way, after others and beside others.
func TestEachPassWaitsForTheReaders(t *testing.T) {
	ctx, over := context.WithTimeout(t.Context(), time.Minute)
	defer over()
	g, _, _ := loop(t, Config{Open: true})
	for _, passes := range [][]State{{Paused}, {Paused}, {Paused, Draining}} {
		var all sync.WaitGroup
		var passed atomic.Int32
		release := make(chan struct{})
		all.Go(func() { _ = g.read(func() error { <-release; return nil }) })
		await(t, g, 1)
		for _, to := range passes {
			all.Go(func() { g.Pass(ctx, to); passed.Add(1) })
			for ctx.Err() == nil && !g.At(to) {
				time.Sleep(time.Millisecond)
			}
		}
		if n := passed.Load(); n > 0 {
			t.Errorf("%d have passed before the read has ended", n)
		}
		close(release)
		all.Wait()
		g.Resume()
	}
	if ctx.Err() != nil {
		t.Error("one waits for more than the read")
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

// Of several that read, none waits for a datagram that another one has got.
func TestDrainingGateWithManyReaders(t *testing.T) {
	const readers, datagrams = 8, 3
	for range 50 {
		g, pc, client := loop(t, Config{Open: true})
		for range datagrams {
			send(t, client, "one")
		}
		g.Pass(context.Background(), Draining)
		var reads []<-chan result
		for range readers {
			reads = append(reads, startRead(pc))
		}
		got := 0
		for _, read := range reads {
			if r := <-read; r.err == nil {
				got++
			} else if !errors.Is(r.err, net.ErrClosed) {
				t.Error(r.err)
			}
		}
		if got != datagrams || g.Readers() != 0 {
			t.Fatalf("%d of %d were read, %d read still", got, datagrams, g.Readers())
		}
	}
}

// The user's deadline holds at a gate that is held, too, and so does one that is set while a read waits.
func TestDeadlineAtTheGate(t *testing.T) {
	for name, begin := range map[string]func(g *Gate, pc net.Conn) <-chan result{
		"before the read": func(*Gate, net.Conn) <-chan result { return nil },
		"while it waits":  func(g *Gate, pc net.Conn) <-chan result { return startWaiting(t, g, pc) },
		"on the socket": func(g *Gate, pc net.Conn) <-chan result {
			g.Pass(t.Context(), Open)
			_ = pc.SetReadDeadline(time.Time{})
			defer await(t, g, 1)
			return startRead(pc)
		},
	} {
		g, pc, _ := loop(t, Config{})
		read, at := begin(g, pc), time.Now().Add(10*time.Millisecond)
		_ = pc.SetReadDeadline(at)
		if read == nil {
			read = startRead(pc)
		}
		if got := <-read; !errors.Is(got.err, os.ErrDeadlineExceeded) || time.Now().Before(at) {
			t.Errorf("%s: %+v, %v before", name, got, time.Until(at))
		}
	}
}

// A deadline that is set when a reader has been told to wait does not make it read on.
func TestDeadlineOfAReaderThatIsToWait(t *testing.T) {
	g, pc, _ := loop(t, Config{Open: true})
	calls := 0
	err := g.read(func() error {
		if calls++; calls > 1 {
			return nil
		}
		ctx, over := context.WithCancel(t.Context())
		over()
		g.Pass(ctx, Paused)
		_ = pc.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := pc.UDPConn.Read(make([]byte, 1))
		if g.At(Paused) && time.Until(g.deadline) < 0 {
			t.Error("it reads on")
		}
		g.Resume()
		return err
	})
	if err != nil || calls != 2 {
		t.Errorf("%v after %d calls", err, calls)
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
