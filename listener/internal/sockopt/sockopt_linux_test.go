package sockopt

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

func listenOn(t *testing.T, network, address string) Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.(Listener)
}

func dial(t *testing.T, ln Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// pair returns both ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln := listenOn(t, "tcp", "127.0.0.1:0")
	near = dial(t, ln)
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

func wait(t *testing.T, what string, until func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// Some bytes are thrown away at a time, or a flood would never let go of the descriptor.
func TestDiscardIsBounded(t *testing.T) {
	c, far := pair(t)
	if Discard(far, 100) {
		t.Error("over, and the client is there")
	}
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	for want := 900; want >= 0; want -= 100 {
		wait(t, "bytes are missing", func() bool { return Unread(far) == want+100 })
		if Discard(far, 100) || Unread(far) != want {
			t.Fatalf("%d unread, want %d", Unread(far), want)
		}
	}
	_ = c.Close()
	wait(t, "not over", func() bool { return Discard(far, 100) })
	_ = far.Close()
	if !Discard(far, 100) {
		t.Error("not over when closed")
	}
}

// Peek and AwaitEnd leave what is unread where it is.
func TestNothingIsRead(t *testing.T) {
	c, far := pair(t)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	wait(t, "bytes are missing", func() bool { return Unread(far) == 5 })
	if p := Peek(far, 4); string(p) != "hell" {
		t.Errorf("peeked at %q", p)
	}
	_ = far.SetReadDeadline(time.Unix(1, 0))
	if _, err := AwaitEnd(far, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with bytes unread, at the deadline: %v", err)
	}
	_ = far.SetReadDeadline(time.Time{})
	if Unread(far) != 5 || Unsent(c) != 0 {
		t.Errorf("%d unread, %d unsent", Unread(far), Unsent(c))
	}
	if _, err := io.ReadFull(far, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := AwaitEnd(far, nil); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// To accept what is queued ends, however fast clients come.
func TestAcceptQueuedEndsInAFlood(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		ln := listenOn(t, network, address)
		const n = 8
		for range n {
			dial(t, ln)
		}
		now, most := QueueLen(ln)
		if network == "tcp" && now != n || now < n || most < now || most > MaxQueue() {
			t.Fatalf("%d wait, of at most %d; want %d", now, most, n)
		}
		taken := 0
		err := AcceptQueued(ln, n, func(f *os.File) bool {
			taken++
			dial(t, ln) // and another two for each that is taken
			dial(t, ln)
			return f.Close() == nil
		})
		if taken != n || err != nil {
			t.Errorf("%s: %d taken of %d, %v", network, taken, n, err)
		}
	}
}

// A socket is bound beside another one that lets it, and listens when it is told to.
func TestBindShared(t *testing.T) {
	var old, ln Listener
	for tries := 0; ln == nil && tries < 20; tries++ { // another process may have the port, on an address of its own
		old = listenOn(t, "tcp", "127.0.0.1:0")
		all := netip.AddrPortFrom(netip.IPv4Unspecified(), old.Addr().(*net.TCPAddr).AddrPort().Port())
		if BindShared(all, false, nil) != nil {
			t.Error("bound beside a socket that does not share")
		}
		if err := SetReusePort(old, true); err != nil {
			t.Fatal(err)
		}
		told := ""
		ln = BindShared(all, false, func(network, address string, _ syscall.RawConn) error {
			told = network + " " + address
			return nil
		})
		if told != "tcp4 "+all.String() {
			t.Errorf("Control was told %q", told)
		}
	}
	if ln == nil {
		t.Fatal("not bound")
	}
	defer ln.Close()
	if IsListening(ln) || !IsListening(old) {
		t.Error("listens too early")
	}
	_ = old.Close()
	if err := Listen(ln); err != nil || !IsListening(ln) {
		t.Errorf("does not listen: %v", err)
	}
}

// A sealed packet socket keeps what it has, and gets no more.
func TestSeal(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		pc, err := net.ListenPacket("udp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		so := pc.(PacketConn)
		client, err := net.Dial("udp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}),
			pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()).String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if HasDatagram(so) {
			t.Error("a datagram that nobody has sent")
		}
		_, _ = client.Write([]byte("before"))
		Seal(so)
		_, _ = client.Write([]byte("after"))
		var b [10]byte
		if n, _, err := pc.ReadFrom(b[:]); err != nil || string(b[:n]) != "before" {
			t.Errorf("%s: %q, %v", address, b[:n], err)
		}
		if HasDatagram(so) {
			t.Errorf("%s: more than what was queued", address)
		}
	}
}
