package listener

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/place"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// inheritedSocket is a socket that this process was given and has not asked for yet, by a service
// manager or the process before it. It has ln or pc, or neither where the descriptor is nothing to
// listen on.
type inheritedSocket struct {
	name string // its FDNAME
	ln   sockopt.Listener
	pc   net.PacketConn
	from *inheritedFD // the process before this one has passed it, and no service manager
}

func newInheritedSocket(f *os.File) *inheritedSocket {
	defer f.Close()
	p := &inheritedSocket{name: f.Name()}
	if ln, err := net.FileListener(f); err == nil {
		raw, ok := ln.(sockopt.Listener)
		if ok && sockopt.IsListening(raw) && ln.Addr().Network() != "unixpacket" {
			p.ln = raw
			return p
		}
		_ = ln.Close()
	}
	if pc, err := net.FilePacketConn(f); err == nil {
		switch pc.LocalAddr().Network() {
		case "udp", "unixgram":
			p.pc = pc
		default:
			_ = pc.Close()
		}
	}
	return p
}

func (p *inheritedSocket) close() {
	if p == nil {
		return
	}
	if p.ln != nil {
		_ = p.ln.Close()
	}
	if p.pc != nil {
		_ = p.pc.Close()
	}
}

func (p *inheritedSocket) addr() net.Addr {
	switch {
	case p.ln != nil:
		return p.ln.Addr()
	case p.pc != nil:
		return p.pc.LocalAddr()
	}
	return nil
}

func (p *inheritedSocket) String() string {
	if addr := p.addr(); addr != nil {
		return fmt.Sprintf("%s (%s %s)", p.name, addr.Network(), addr)
	}
	return p.name + " (no socket to listen on)"
}

// reachable tells of a unix socket whether its file exists. A folder in /run may have gone when the
// service stopped.
func (p *inheritedSocket) reachable() bool {
	path := p.addr().String()
	return strings.HasPrefix(path, "@") || isSocket(path)
}

// isStrange tells whether another program has put its file in the place of an inherited unix socket's.
func isStrange(fds any, path string) bool {
	f, ok := fds.(interface{ IsStrange(path string) bool })
	return ok && f.IsStrange(path)
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// boundTo is what p, which has an address, is bound to.
func (p *inheritedSocket) boundTo() place.Place {
	if p.ln != nil {
		return place.OfSocket(p.ln, p.addr())
	}
	return place.OfSocket(p.pc.(syscall.Conn), p.addr())
}

// bound tells whether p serves what Listen would open for network and address.
func (p *inheritedSocket) bound(network, address string) bool {
	if p.addr() == nil || p.addr().Network() != place.BaseNetwork(network) {
		return false
	}
	want, err := place.Wanted(network, address)
	return err == nil && p.boundTo().Serves(network, want)
}

// Inherited is a listening or packet socket that the process before this one has passed on.
type Inherited struct {
	Network, Address string // as given to Listen or ListenPacket in that process
	FD               int    // the caller may close it once all calls of Listen and ListenPacket have returned
}

// key is what the process before this one calls the socket, in tickets and elsewhere.
func (in Inherited) key() string { return in.Network + " " + in.Address }

// inheritedFD is an inherited socket that no Listen or ListenPacket has asked for yet.
type inheritedFD struct {
	Inherited
	id   string   // of the socket, to know the descriptor again
	copy *os.File // has FD, of a socket that this process has closed; nil for others
}

// open returns a copy of the socket. It returns nil where that is none to listen on, or has been
// closed.
func (h *inheritedFD) open() *inheritedSocket {
	if h.id == "" || identify(h.FD) != h.id {
		return nil
	}
	f := duplicate(h.FD, h.key())
	if f == nil {
		return nil
	}
	p := newInheritedSocket(f)
	if p.addr() == nil {
		return nil
	}
	p.from = h
	return p
}

// samePortChoice tells whether the system chose the port of p for the same host, and want leaves
// the port to the system too.
func (p *inheritedSocket) samePortChoice(want place.Place) bool {
	if p.from == nil || place.IsUnix(want.Network) || want.Addr.Port() != 0 {
		return false
	}
	_, port, err := net.SplitHostPort(p.from.Address)
	have := p.boundTo()
	return err == nil && (port == "" || strings.Trim(port, "0") == "") && have.Network == want.Network &&
		have.SameHost(want)
}

// sameFile tells whether the socket of that key has the file of h.
func (h *inheritedFD) sameFile(key string) bool {
	network, path, _ := strings.Cut(key, " ")
	return place.IsUnix(network) && place.SamePath(h.Address, path)
}

// Store is where a service manager keeps sockets for a service while no process of it lives. A name
// has at most 255 printable ASCII characters and none of them is a colon or a space, as FDNAME= of
// sd_pid_notify_with_fds(3) wants it.
type Store interface {
	// Put stores a copy of socket under name.
	Put(name string, socket syscall.Conn) error
	// Remove takes what is stored under name out of the store.
	Remove(name string) error
}

// storePrefix begins each name in the store that this package has given.
const storePrefix = "baton."

// storeName is the name of a socket in the store.
func storeName(key string) string {
	name := storePrefix + url.QueryEscape(key)
	if len(name) > 255 {
		name = fmt.Sprintf("%s%x", storePrefix, sha256.Sum256([]byte(key)))
	}
	return name
}
