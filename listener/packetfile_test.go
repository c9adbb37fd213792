//go:build unix

package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPacketSocketFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(t, err)
	if _, err := New(Config{}).ListenPacket("unixgram", path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("living socket: %v", err)
	}
	_ = stale.Close() // leaves the file
	set := New(Config{})
	pc, err := set.ListenPacket("unixgram", path)
	check(t, err)
	if _, err := set.ListenPacket("unixgram", path); err == nil {
		t.Error("twice")
	}
	_ = pc.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	if _, err = set.ListenPacket("unixgram", path); err != nil {
		t.Fatal(err)
	}
	stream := mustListen(t, New(Config{}), "unix", path+"stream")
	if _, err := New(Config{}).ListenPacket("unixgram", path+"stream"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a stream socket: %v", err)
	}
	if _, err := os.Stat(stream.Addr().String()); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{}).ListenPacket("unixgram", filepath.Join(path, "no", "folder")); err == nil {
		t.Error("no error")
	}
}

// What a generation has made that never came to serve is removed; another process, which it was passed on to,
// has the file of what did.
func TestFilesOfAGenerationThatFails(t *testing.T) {
	dir := shortDir(t)
	for _, opened := range []bool{false, true} {
		set := New(Config{Fds: flipFds()})
		stream, packet := filepath.Join(dir, fmt.Sprint("s", opened)), filepath.Join(dir, fmt.Sprint("p", opened))
		mustListen(t, set, "unix", stream)
		if _, err := set.ListenPacket("unixgram", packet); err != nil {
			t.Fatal(err)
		}
		if opened {
			set.Open()
		}
		set.Close()
		for _, path := range []string{stream, packet} {
			if _, err := os.Stat(path); (err == nil) != opened {
				t.Errorf("%s, opened %v: %v", path, opened, err)
			}
		}
	}
}

func TestPacketSocketsHaveTheMethodsOfTheirs(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, _ net.Conn) {
		if _, ok := pc.(interface{ SetReadBuffer(int) error }); !ok {
			t.Error("SetReadBuffer")
		}
		if _, ok := pc.(interface {
			WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
		}); ok != (pc.LocalAddr().Network() == "udp") {
			t.Error("WriteToUDPAddrPort")
		}
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
		if err := pc.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("again: %v", err)
		}
		for name, read := range ways(pc) {
			if _, err := read(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", name, err)
			}
		}
	})
}
