package listener

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// place is what a socket is bound to, however it is spelled: the network without "4" and "6", and an address of the
// Internet or the path of a unix socket.
type place struct {
	network string
	addr    netip.AddrPort // unspecified: all addresses
	both    bool           // an IPv6 socket that has IPv4 clients too
	path    string         // as it is written; "@" begins an abstract name
}

// placeOf is the place of a socket.
func placeOf(have net.Addr, both bool) place {
	p := place{network: have.Network(), both: both}
	switch have := have.(type) {
	case *net.TCPAddr:
		p.addr = plain(have.AddrPort())
	case *net.UDPAddr:
		p.addr = plain(have.AddrPort())
	default:
		p.path = have.String()
	}
	return p
}

// plain leaves out what the kernel does not heed: the zone of an address that has none.
func plain(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if !ip.IsLinkLocalUnicast() && !ip.IsLinkLocalMulticast() && !ip.IsInterfaceLocalMulticast() {
		ip = ip.WithZone("")
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// wanted is the place that Listen or ListenPacket would bind a new socket to.
func wanted(network, address string) (place, error) {
	if isUnix(network) {
		return place{network: network, path: address}, nil
	}
	return resolve(network, address)
}

func isUnix(network string) bool { return network == "unix" || network == "unixgram" }

// is tells whether both are the same place. A port of 0 is any: it is the same as no other.
func (p place) is(q place) bool {
	if p.network != q.network {
		return false
	}
	if isUnix(p.network) {
		return samePath(p.path, q.path)
	}
	return p.addr.Port() != 0 && p.addr.Port() == q.addr.Port() && p.sameHost(q)
}

func (p place) sameHost(q place) bool {
	return p.addr.Addr() == q.addr.Addr() && (p.both == q.both || !p.addr.Addr().IsUnspecified())
}

// serves tells whether what is bound to p will do for q: of all addresses, those of one family are enough where q names
// none. That is how a service manager's configuration limits what a program listens on.
func (p place) serves(network string, q place) bool {
	if p.is(q) {
		return true
	}
	have, want := p.addr.Addr(), q.addr.Addr()
	if p.network != q.network || isUnix(p.network) || q.addr.Port() == 0 || p.addr.Port() != q.addr.Port() {
		return false
	}
	if !have.IsUnspecified() || !want.IsUnspecified() {
		return false
	}
	switch network[len(network)-1] {
	case '4':
		return have.Is4()
	case '6':
		return have.Is6()
	}
	return true
}

// overlaps tells whether the kernel sees p and q as the same for some clients.
func (p place) overlaps(q place) bool {
	if p.network != q.network || isUnix(p.network) || p.addr.Port() == 0 || p.addr.Port() != q.addr.Port() {
		return false
	}
	return p.covers(q.addr.Addr()) || q.covers(p.addr.Addr())
}

// covers tells whether a client that connects to ip reaches p.
func (p place) covers(ip netip.Addr) bool {
	have := p.addr.Addr()
	switch ip = ip.Unmap(); {
	case !have.IsUnspecified():
		return have.WithZone("") == ip.WithZone("")
	case have.Is4():
		return ip.Is4()
	default:
		return p.both || ip.Is6()
	}
}

// samePath tells whether two spellings of a path name the same socket file.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	if a == "" || b == "" || a[0] == '@' || b[0] == '@' {
		return false
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	if errA == nil && errB == nil && absA == absB {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// baseNetwork is a network without the version of the Internet protocol.
func baseNetwork(network string) string {
	if strings.HasPrefix(network, "tcp") || strings.HasPrefix(network, "udp") {
		return network[:3]
	}
	return network
}
