package listener

import (
	"errors"
	"math"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// bind returns a TCP socket that is bound to a place beside others that have SO_REUSEPORT, or nil.
func bind(at place) rawListener {
	family, addr := unix.AF_INET, unix.Sockaddr(nil)
	if ip := at.addr.Addr(); ip.Is4() {
		addr = &unix.SockaddrInet4{Port: int(at.addr.Port()), Addr: ip.As4()}
	} else {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.addr.Port()),
			ZoneId: zoneID(ip.Zone()), Addr: ip.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "beside")
	defer f.Close()
	if family == unix.AF_INET6 {
		only := 1
		if at.both {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	if err != nil || unix.Bind(fd, addr) != nil {
		return nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	return ln.(rawListener)
}

func zoneID(zone string) uint32 {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// startListening is listen(2), whose backlog the kernel cuts down to what may be.
func startListening(ln rawListener) error {
	return control(ln, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, somaxconn())) })
}

// setShared lets other sockets of this user that have SO_REUSEPORT be bound beside ln, or does not any more.
func setShared(ln rawListener, yes bool) error {
	if ln.Addr().Network() != "tcp" {
		return nil
	}
	value := 0
	if yes {
		value = 1
	}
	return control(ln, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value) })
}

// hide makes the kernel give new clients to a socket that overlaps this one, or refuse them, while
// handshakes under way come to their end here: a socket that is bound to a network interface has
// clients from there alone, and this one does not exist. From Linux 5.7 on that takes no privilege;
// to undo it does.
func hide(ln rawListener) bool {
	return ln.Addr().Network() == "tcp" && control(ln, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, math.MaxInt32)
	}) == nil
}

func control(sc syscall.Conn, f func(fd int) error) (err error) {
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := rc.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(ctlErr, err)
}
