//go:build unix

package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is for what must happen.
const patience = time.Minute

// reader is all of a packet socket's reads but one by system calls.
type reader interface {
	net.PacketConn
	net.Conn
	syscall.Conn
}

type udpReader interface {
	ReadFromUDP(p []byte) (int, *net.UDPAddr, error)
	ReadFromUDPAddrPort(p []byte) (int, netip.AddrPort, error)
	ReadMsgUDP(p, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	ReadMsgUDPAddrPort(p, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
}

type unixReader interface {
	ReadFromUnix(p []byte) (int, *net.UnixAddr, error)
	ReadMsgUnix(p, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

// ways are all the ways to read from a packet socket.
func ways(pc net.PacketConn) map[string]func([]byte) (int, error) {
	all := map[string]func([]byte) (int, error){
		"Read":     pc.(reader).Read,
		"ReadFrom": func(p []byte) (int, error) { n, _, err := pc.ReadFrom(p); return n, err },
		"SyscallConn": func(p []byte) (n int, err error) {
			rc, err := pc.(syscall.Conn).SyscallConn()
			if err != nil {
				return 0, err
			}
			var inner error
			err = rc.Read(func(fd uintptr) bool {
				n, _, inner = syscall.Recvfrom(int(fd), p, 0)
				return inner != syscall.EAGAIN
			})
			return n, errors.Join(inner, err)
		},
	}
	switch pc := pc.(type) {
	case udpReader:
		all["ReadFromUDP"] = func(p []byte) (int, error) { n, _, err := pc.ReadFromUDP(p); return n, err }
		all["ReadFromUDPAddrPort"] = func(p []byte) (int, error) {
			n, _, err := pc.ReadFromUDPAddrPort(p)
			return n, err
		}
		all["ReadMsgUDP"] = func(p []byte) (int, error) { n, _, _, _, err := pc.ReadMsgUDP(p, nil); return n, err }
		all["ReadMsgUDPAddrPort"] = func(p []byte) (int, error) {
			n, _, _, _, err := pc.ReadMsgUDPAddrPort(p, nil)
			return n, err
		}
	case unixReader:
		all["ReadFromUnix"] = func(p []byte) (int, error) { n, _, err := pc.ReadFromUnix(p); return n, err }
		all["ReadMsgUnix"] = func(p []byte) (int, error) { n, _, _, _, err := pc.ReadMsgUnix(p, nil); return n, err }
	}
	return all
}

// shortDir has a short path, as a unix socket needs.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// eachPacketNetwork runs f with a set that has a packet socket, and a client of that.
func eachPacketNetwork(t *testing.T, f func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn)) {
	dir := shortDir(t)
	for i, at := range [][2]string{{"udp", "127.0.0.1:0"}, {"udp", ":0"}, {"unixgram", filepath.Join(dir, "s")}} {
		t.Run(fmt.Sprint(i, at[0]), func(t *testing.T) {
			set := New(Config{})
			t.Cleanup(func() { set.Close() })
			pc, err := set.ListenPacket(at[0], at[1])
			check(t, err)
			var client net.Conn
			if at[0] == "unixgram" {
				client, err = net.DialUnix("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "c"), Net: "unixgram"},
					pc.LocalAddr().(*net.UnixAddr))
			} else {
				client, err = net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", pc.LocalAddr().(*net.UDPAddr).Port))
			}
			check(t, err)
			t.Cleanup(func() { _ = client.Close() })
			_ = client.SetDeadline(time.Now().Add(time.Minute)) // against hangs only
			f(t, set, pc, client)
		})
	}
}

func wantNext(t testing.TB, read func([]byte) (int, error), want string) {
	t.Helper()
	buf := make([]byte, 64)
	n, err := read(buf)
	if err != nil || string(buf[:n]) != want {
		t.Fatalf("read %q, %v; want %q", buf[:n], err, want)
	}
}

// awaitReaders waits until n goroutines are in a read of the set's packet socket.
func awaitReaders(t testing.TB, set *Set, n int) {
	t.Helper()
	for _, gate := range set.gates() {
		for end := time.Now().Add(patience); gate.Readers() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d read; want %d", gate.Readers(), n)
			}
		}
	}
}

func TestDatagramsAreReadInAllWays(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		set.Open()
		for name, read := range ways(pc) {
			mustWrite(t, client, name)
			wantNext(t, read, name)
		}
	})
}

func TestDatagramsAreReadByOneProcess(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		next := New(Config{})
		f := dup(pc.(syscall.Conn))
		next.Manage(nil, nil, []*os.File{rename(t, f, "x")})
		_ = f.Close()
		npc, err := next.ListenPacket("fd", "x")
		check(t, err)
		defer next.Close()
		set.Open()
		_, from, err := func() (int, net.Addr, error) {
			mustWrite(t, client, "who")
			return pc.ReadFrom(make([]byte, 8))
		}()
		check(t, err)

		old, fresh := ways(pc), ways(npc)
		ends := make(chan error, len(old))
		for _, read := range old {
			go func() { _, err := read(make([]byte, 64)); ends <- err }()
		}
		got := make(chan string, len(fresh))
		for _, read := range fresh {
			go func() {
				buf := make([]byte, 64)
				n, err := read(buf)
				got <- fmt.Sprintf("%s %v", buf[:n], err)
			}()
		}
		awaitReaders(t, set, len(old))
		awaitReaders(t, next, 0)
		set.endReads(context.Background())
		for range old {
			if err := <-ends; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read under way: %v", err)
			}
		}
		for name, read := range old {
			if _, err := read(make([]byte, 64)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s afterwards: %v", name, err)
			}
		}
		for range fresh {
			mustWrite(t, client, "queued")
		}
		select {
		case s := <-got:
			t.Errorf("before Open: %s", s)
		default:
		}
		next.Open()
		for range fresh {
			if s := <-got; s != "queued <nil>" {
				t.Errorf("after Open: %s", s)
			}
		}
		if _, err := pc.WriteTo([]byte("late"), from); err != nil {
			t.Errorf("an answer to what was read before: %v", err)
		}
		wantNext(t, client.Read, "late")
		if err := set.Leave(context.Background(), nil, 0); err != nil {
			t.Error(err)
		}
		mustWrite(t, client, "more")
		wantNext(t, npc.(reader).Read, "more")
	})
}

func TestDatagramsThatAreQueuedAreReadAtTheEnd(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		const most = 8 // as many as Linux queues in a unix socket at least
		set.Open()
		sent := 0
		for range most {
			text := fmt.Sprint(sent)
			if sent%3 == 1 {
				text = "" // is a datagram, too
			}
			mustWrite(t, client, text)
			sent++
		}
		check(t, set.Leave(context.Background(), nil, 0))
		var mu sync.Mutex
		got := make(map[string]int)
		var from net.Addr
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				buf := make([]byte, 64)
				for {
					n, addr, err := pc.ReadFrom(buf)
					if err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					got[string(buf[:n])]++
					from = addr
					mu.Unlock()
				}
			})
		}
		readers.Wait()
		total := 0
		for text, n := range got {
			total += n
			if text != "" && n != 1 {
				t.Errorf("%q was read %d times", text, n)
			}
		}
		if total != sent {
			t.Fatalf("%d of %d were read: %v", total, sent, got)
		}
		if _, err := pc.WriteTo([]byte("answer"), from); err != nil {
			t.Error(err)
		}
		wantNext(t, client.Read, "answer")
		set.Close()
		if _, err := pc.WriteTo([]byte("answer"), from); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if addr, ok := pc.LocalAddr().(*net.UnixAddr); ok {
			if _, err := os.Stat(addr.Name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

func TestReadDeadlineOfPacketSockets(t *testing.T) {
	t.Parallel()
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		past, soon := time.Unix(1, 0), func() time.Time { return time.Now().Add(10 * time.Millisecond) }
		for _, when := range []string{"before Open", "after Open"} {
			for name, read := range ways(pc) {
				_ = pc.SetReadDeadline(past)
				if _, err := read(make([]byte, 8)); !isTimeout(err) {
					t.Errorf("%s, %s, over: %v", when, name, err)
				}
				_ = pc.SetDeadline(soon())
				if _, err := read(make([]byte, 8)); !isTimeout(err) {
					t.Errorf("%s, %s, soon: %v", when, name, err)
				}
				_ = pc.SetReadDeadline(time.Time{})
				ends := make(chan error)
				go func() { _, err := read(make([]byte, 8)); ends <- err }()
				_ = pc.SetReadDeadline(soon())
				if err := <-ends; !isTimeout(err) {
					t.Errorf("%s, %s, while it reads: %v", when, name, err)
				}
			}
			set.Open()
		}
		_ = pc.SetDeadline(time.Time{})
		mustWrite(t, client, "in time")
		wantNext(t, pc.(reader).Read, "in time")
		set.endReads(context.Background())
		_ = pc.SetReadDeadline(past)
		if _, err := pc.(reader).Read(make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// The end of reads does not wait for a reader's own code for ever.
func TestEndOfReadsIsBounded(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		set.Open()
		rc, err := pc.(syscall.Conn).SyscallConn()
		check(t, err)
		entered, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			_ = rc.Read(func(uintptr) bool { close(entered); <-release; return true })
		}()
		<-entered
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		set.endReads(ctx)
		close(release)
		<-done
	})
}
