package listener

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// unread is how many bytes the client has sent that nobody has read.
func unread(nc net.Conn) (n int) {
	if sc, ok := nc.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
		}
	}
	return n
}

// backlog takes the connections out of the kernel's queue, as many as there are.
func backlog(ln syscall.Conn) (conns []net.Conn) {
	rc, err := ln.SyscallConn()
	if err != nil {
		return nil
	}
	_ = rc.Control(func(fd uintptr) {
		for {
			nfd, _, err := unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(nfd), "accepted")
			if nc, err := net.FileConn(f); err == nil {
				conns = append(conns, nc)
			}
			_ = f.Close()
		}
	})
	return conns
}
