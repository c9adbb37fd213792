//go:build unix

package probeport

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenBeside listens on a TCP address where the next generation can listen, too. With beside, it
// listens beside the generation before. Otherwise the address must be free: SO_REUSEPORT alone would
// also let it listen beside another service of this user.
func listenBeside(address string, beside bool) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	if beside {
		lc.Control = func(_, _ string, rc syscall.RawConn) error { return reusePort(rc) }
	}
	ln, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil || beside {
		return ln, err
	}
	rc, err := ln.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = reusePort(rc)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

func reusePort(rc syscall.RawConn) (err error) {
	ctlErr := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return errors.Join(ctlErr, err)
}
