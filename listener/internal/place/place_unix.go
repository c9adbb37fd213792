//go:build unix

package place

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// errResolved ends a Listen before anything is bound.
var errResolved = errors.New("resolved")

// resolve has package net say what it would bind a socket to: it knows about names, families and
// what this machine has.
func resolve(network, address string) (p Place, err error) {
	lc := net.ListenConfig{Control: func(family, bound string, rc syscall.RawConn) error {
		host, port, err := net.SplitHostPort(bound)
		if err != nil {
			return err
		}
		p.Network = BaseNetwork(network)
		p.Both = both(rc)
		if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
			if err != nil {
				return err
			}
			bound, err := netip.ParseAddrPort(net.JoinHostPort(ip.String(), port))
			p.Addr = plain(bound)
			return errors.Join(err, errResolved)
		}
		all := netip.IPv4Unspecified()
		if strings.HasSuffix(family, "6") {
			all = netip.IPv6Unspecified()
		}
		bind, err := netip.ParseAddrPort(net.JoinHostPort(all.String(), port))
		p.Addr = bind
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

// OfSocket is the place of a socket that package net has made of a descriptor.
func OfSocket(sc syscall.Conn, have net.Addr) Place {
	rc, err := sc.SyscallConn()
	return Of(have, err == nil && both(rc))
}
