// Package sockopt is what is known of sockets beyond package net: how much lies in their queues,
// and how to keep new clients out. Most of it works on Linux only; elsewhere its functions say that
// nothing is known, or do nothing. None of them closes what it is given, or keeps it.
package sockopt

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// Listener is what *net.TCPListener and *net.UnixListener have in common.
type Listener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// Control is that of net.ListenConfig; it may be nil.
type Control = func(network, address string, rc syscall.RawConn) error

// PacketConn is what *net.UDPConn and *net.UnixConn have in common.
type PacketConn interface {
	net.PacketConn
	syscall.Conn
}

// ErrStays is what ReadUnless returns where it has read nothing.
var ErrStays = errors.New("sockopt: what has come stays in the kernel")

// AwaitReceived returns when the client has received all that was written, or nothing for idle(), or
// when stop says so. It throws away what the client sends meanwhile: left unread, that would have the
// connection reset by a close, and the client lose what it has not received.
func AwaitReceived(nc net.Conn, idle func() time.Duration, stop func() bool) {
	const pause, most = 5 * time.Millisecond, 64 << 10
	queued, since := -1, time.Now()
	for !stop() && !Discard(nc, most) {
		n := Unsent(nc)
		if n != queued {
			queued, since = n, time.Now()
		}
		if n == 0 || time.Since(since) >= idle() {
			return
		}
		time.Sleep(pause)
	}
}

// RawConn is the SyscallConn of nc, for a wrapper around that, or an error where it has none.
func RawConn(nc net.Conn) (syscall.RawConn, error) {
	if sc, ok := nc.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.EINVAL
}
