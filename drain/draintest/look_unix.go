//go:build unix

package draintest

import (
	"net"
	"syscall"
)

// look tells, without waiting, whether the other side has closed the connection, or has sent something.
func look(conn net.Conn) (closed, spoke bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true, false
	}
	var n int
	var readErr error
	var b [1]byte
	err = raw.Read(func(fd uintptr) bool {
		n, readErr = syscall.Read(int(fd), b[:])
		return true
	})
	quiet := readErr == syscall.EAGAIN || readErr == syscall.EINTR
	return err != nil || !quiet, err == nil && readErr == nil && n > 0
}
