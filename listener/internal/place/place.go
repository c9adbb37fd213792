// Package place is what sockets are bound to, however an address is spelled, and which process
// holds it.
package place

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Place is what a socket is bound to, the same for each spelling. It is the network without "4" and
// "6", and an address of the Internet or the path of a unix socket.
type Place struct {
	Network string
	Addr    netip.AddrPort // unspecified: all addresses
	Both    bool           // an IPv6 socket that has IPv4 clients too
	Path    string         // as it is written; "@" begins an abstract name
}

// Of is the place of a socket.
func Of(have net.Addr, both bool) Place {
	p := Place{Network: have.Network(), Both: both}
	switch have := have.(type) {
	case *net.TCPAddr:
		p.Addr = plain(have.AddrPort())
	case *net.UDPAddr:
		p.Addr = plain(have.AddrPort())
	default:
		p.Path = have.String()
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

// Wanted is the place that Listen or ListenPacket would bind a new socket to.
func Wanted(network, address string) (Place, error) {
	if IsUnix(network) {
		return Place{Network: network, Path: address}, nil
	}
	return resolve(network, address)
}

// IsUnix tells the networks of sockets with a path.
func IsUnix(network string) bool { return network == "unix" || network == "unixgram" }

// Self is what Holder names this process.
const Self = "this process itself"

// Is tells whether both are the same place. A port of 0 is any: it is the same as no other.
func (p Place) Is(q Place) bool {
	if p.Network != q.Network {
		return false
	}
	if IsUnix(p.Network) {
		return SamePath(p.Path, q.Path)
	}
	return p.Addr.Port() != 0 && p.Addr.Port() == q.Addr.Port() && p.SameHost(q)
}

// SameHost tells whether both are bound to the same addresses, on whichever port.
func (p Place) SameHost(q Place) bool {
	return p.Addr.Addr() == q.Addr.Addr() && (p.Both == q.Both || !p.Addr.Addr().IsUnspecified())
}

// Serves tells whether what is bound to p will do for q: of all addresses, those of one family are
// enough where q names none. That is how a service manager's configuration limits what a program
// listens on.
func (p Place) Serves(network string, q Place) bool {
	if p.Is(q) {
		return true
	}
	have, want := p.Addr.Addr(), q.Addr.Addr()
	if p.Network != q.Network || IsUnix(p.Network) || q.Addr.Port() == 0 || p.Addr.Port() != q.Addr.Port() {
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

// Overlaps tells whether the kernel sees p and q as the same for some clients.
func (p Place) Overlaps(q Place) bool {
	if p.Network != q.Network || IsUnix(p.Network) || p.Addr.Port() == 0 || p.Addr.Port() != q.Addr.Port() {
		return false
	}
	return p.Covers(q.Addr.Addr()) || q.Covers(p.Addr.Addr())
}

// Covers tells whether a client that connects to ip reaches p.
func (p Place) Covers(ip netip.Addr) bool {
	have := p.Addr.Addr()
	switch ip = ip.Unmap(); {
	case !have.IsUnspecified():
		return have.WithZone("") == ip.WithZone("")
	case have.Is4():
		return ip.Is4()
	default:
		return p.Both || ip.Is6()
	}
}

// SamePath tells whether two spellings of a path name the same socket file.
func SamePath(a, b string) bool {
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

// BaseNetwork is a network without the version of the Internet protocol.
func BaseNetwork(network string) string {
	if strings.HasPrefix(network, "tcp") || strings.HasPrefix(network, "udp") {
		return network[:3]
	}
	return network
}
