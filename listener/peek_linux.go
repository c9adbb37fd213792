package listener

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek returns the first of the n bytes that lie unread, and leaves them there.
func peek(nc net.Conn, n int) (p []byte) {
	sc, ok := nc.(syscall.Conn)
	if !ok || n <= 0 {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	const most = 64 << 10
	b := make([]byte, min(n, most))
	_ = rc.Control(func(fd uintptr) {
		if n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT); err == nil && n > 0 {
			p = b[:n]
		}
	})
	return p
}
