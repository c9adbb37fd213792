//go:build unix

package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errResolved ends a Listen before anything is bound.
var errResolved = errors.New("resolved")

// resolve has package net say what it would bind a socket to: it knows about names, families and what this machine has.
func resolve(network, address string) (p place, err error) {
	lc := net.ListenConfig{Control: func(family, bound string, rc syscall.RawConn) error {
		host, port, err := net.SplitHostPort(bound)
		if err != nil {
			return err
		}
		p.network = baseNetwork(network)
		p.both = both(rc)
		if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
			if err != nil {
				return err
			}
			bound, err := netip.ParseAddrPort(net.JoinHostPort(ip.String(), port))
			p.addr = plain(bound)
			return errors.Join(err, errResolved)
		}
		all := netip.IPv4Unspecified()
		if strings.HasSuffix(family, "6") {
			all = netip.IPv6Unspecified()
		}
		bind, err := netip.ParseAddrPort(net.JoinHostPort(all.String(), port))
		p.addr = bind
		return errors.Join(err, errResolved)
	}}
	lc.SetMultipathTCP(false)
	if strings.HasPrefix(network, "udp") {
		var pc net.PacketConn
		if pc, err = lc.ListenPacket(context.Background(), network, address); err == nil {
			_ = pc.Close()
		}
	} else {
		var ln net.Listener
		if ln, err = lc.Listen(context.Background(), network, address); err == nil {
			_ = ln.Close()
		}
	}
	if errors.Is(err, errResolved) {
		err = nil
	}
	return p, err
}

// both tells of an IPv6 socket whether it has IPv4 clients too.
func both(rc syscall.RawConn) (yes bool) {
	_ = rc.Control(func(fd uintptr) {
		only, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		yes = err == nil && only == 0
	})
	return yes
}

// placeOfSocket is the place of a socket that package net has made of a descriptor.
func placeOfSocket(sc syscall.Conn, have net.Addr) place {
	rc, err := sc.SyscallConn()
	return placeOf(have, err == nil && both(rc))
}

// identify tells one open socket from all others; "" is none.
func identify(fd int) string {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return ""
	}
	return fmt.Sprint(st.Dev, st.Ino)
}

// duplicate returns a copy of a descriptor, or nil.
func duplicate(fd int, name string) *os.File {
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(nfd), name)
}
