package listener

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

// Who sends when nobody will read any more learns it, but for a UDP socket that is bound to all addresses.
func TestNewcomersAreRefusedAtTheEnd(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		set.Open()
		check(t, set.Leave(context.Background(), nil, 0))
		_, err := client.Write([]byte("too late"))
		addr, udp := pc.LocalAddr().(*net.UDPAddr)
		switch {
		case !udp:
			if !errors.Is(err, syscall.EPIPE) {
				t.Error(err)
			}
		case addr.IP.IsUnspecified():
			if _, err := pc.(reader).Read(make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		default:
			if _, err := client.Read(make([]byte, 8)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		}
	})
}

// Each datagram that the kernel has taken is read, however many come while the last reads go on.
func TestNoDatagramIsLostWhileLeaving(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, set *Set, pc net.PacketConn, client net.Conn) {
		if addr, ok := pc.LocalAddr().(*net.UDPAddr); ok && addr.IP.IsUnspecified() {
			return // who sends does not learn of the end, so that nothing could be counted
		}
		set.Open()
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			buf := make([]byte, 8)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo(buf[:n], from)
			}
		}()
		var asked atomic.Int32
		ends := make(chan error)
		go func() {
			buf := make([]byte, 8)
			for {
				_, err := client.Write([]byte("ping"))
				if err == nil {
					_, err = client.Read(buf)
				}
				if err != nil {
					ends <- err
					return
				}
				asked.Add(1)
			}
		}()
		for asked.Load() < 100 {
			select {
			case err := <-ends:
				t.Fatal(err)
			default:
			}
		}
		check(t, set.Leave(context.Background(), nil, 0))
		if err := <-ends; !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("after %d: %v", asked.Load(), err)
		}
		<-answered
	})
}

// The queue of a socket that a service manager holds is the next process's.
func TestQueueOfAHeldPacketSocketStays(t *testing.T) {
	eachPacketNetwork(t, func(t *testing.T, _ *Set, orig net.PacketConn, client net.Conn) {
		f := dup(orig.(syscall.Conn))
		defer f.Close()
		set := New(Config{})
		set.Manage(nil, nil, []*os.File{rename(t, dup(orig.(syscall.Conn)), "x")})
		pc, err := set.ListenPacket("fd", "x")
		check(t, err)
		set.Open()
		mustWrite(t, client, "for the next")
		check(t, set.Leave(context.Background(), nil, 0))
		if _, err := pc.(reader).Read(make([]byte, 8)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		set.Close()
		mustWrite(t, client, "and another")
		next, err := net.FilePacketConn(f)
		check(t, err)
		defer next.Close()
		wantNext(t, next.(net.Conn).Read, "for the next")
		wantNext(t, next.(net.Conn).Read, "and another")
	})
}
