package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/place"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// passed is a socket that a service manager has passed to this process, and that nobody has asked
// for yet. One of ln and pc is set, or none of them where the descriptor is nothing to listen on.
type passed struct {
	name string // its FDNAME
	ln   sockopt.Listener
	pc   net.PacketConn
	heir *heir // the process before this one has passed it, and no service manager
}

// Manage tells the set of a service manager that holds sockets for the service, as systemd does:
// files are those that it has passed to this process, each with its FDNAME as the file's name; the
// set closes them. Held is what Held has returned in the generation before. Store, unless nil, is
// where Keep puts what is in use.
//
// Manage must be called before Listen. To opening a socket, Listen then prefers the one passed that
// an earlier process of the service has stored for the same network and address, and next one that
// is bound to the address: "", 0.0.0.0 and :: are the same one. Network "fd" is for those with a
// name: the address is the FDNAME.
func (s *Set) Manage(store Store, held map[string]string, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
	for key, name := range held {
		s.held[key] = name
	}
	for _, f := range files {
		s.passed = append(s.passed, open(f))
	}
}

func open(f *os.File) *passed {
	defer f.Close()
	p := &passed{name: f.Name()}
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

func (p *passed) close() {
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

func (p *passed) addr() net.Addr {
	switch {
	case p.ln != nil:
		return p.ln.Addr()
	case p.pc != nil:
		return p.pc.LocalAddr()
	}
	return nil
}

func (p *passed) String() string {
	if addr := p.addr(); addr != nil {
		return fmt.Sprintf("%s (%s %s)", p.name, addr.Network(), addr)
	}
	return p.name + " (no socket to listen on)"
}

// passedNames is for errors.
func (s *Set) passedNames() string {
	if len(s.passed) == 0 {
		return "none"
	}
	var names []string
	for _, p := range s.passed {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// explain is like the function, but knows which process holds an address that is in use when this process
// does so itself, or the one before it.
func (s *Set) explain(network, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		if old := s.overlapped(network, address); len(old) > 0 {
			return fmt.Errorf("listener: listen %s %q: %w; the process before this one listens on %q, "+
				"which this overlaps, and is not "+
				"closed before this one takes over: restart the service, or leave the old address in one "+
				"swap and take the new one in the next",
				network, address, err, old[0].key())
		}
		if len(s.passed) > 0 {
			return fmt.Errorf("listener: listen %s %q: %w; if the service manager has passed the socket, "+
				"ask for it by the address it has, "+
				"or by its name on network \"fd\"; passed: %s", network, address, err, s.passedNames())
		}
	}
	return explain(network, address, err)
}

// claim returns the passed or inherited socket to use for network and address, or nil, and takes it out of those that
// nobody has asked for. Only "fd" makes an error of it that there is none.
func (s *Set) claim(network, address string, packet bool) (*passed, error) {
	if p := s.inherit(network, address, packet); p != nil {
		return p, nil
	}
	key := network + " " + address
	var candidates []*passed // the better ones first
	for _, p := range s.passed {
		switch {
		case packet && p.pc == nil, !packet && p.ln == nil:
		case network == "fd":
			if p.name == address {
				candidates = append(candidates, p)
			}
		case strings.HasPrefix(network, "unix") && !p.reachable():
		case p.name == storeName(key):
			candidates = slices.Insert(candidates, 0, p)
		case p.bound(network, address):
			candidates = append(candidates, p)
		}
	}
	switch {
	case network == "fd" && len(candidates) > 1:
		return nil, fmt.Errorf("%d passed sockets have that name, and clients would hang on the others: "+
			"name each by a FileDescriptorName= of its own, or ask for it by its address; passed: %s",
			len(candidates), s.passedNames())
	case network == "fd" && len(candidates) == 0:
		return nil, fmt.Errorf("the service manager has passed no such socket (passed: %s); name it by "+
			"FileDescriptorName= in the .socket unit, which is passed on to the first generation only: "+
			"after a change restart the service", s.passedNames())
	case len(candidates) == 0:
		return nil, nil
	}
	p := candidates[0]
	s.passed = slices.DeleteFunc(s.passed, func(q *passed) bool { return q == p })
	s.held[key] = p.name
	return p, nil
}

// reachable tells of a unix socket whether its file is there: a folder in /run may have gone when the service stopped.
func (p *passed) reachable() bool {
	path := p.addr().String()
	return strings.HasPrefix(path, "@") || isSocket(path)
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// place is what p, which has an address, is bound to.
func (p *passed) boundTo() place.Place {
	if p.ln != nil {
		return place.OfSocket(p.ln, p.addr())
	}
	return place.OfSocket(p.pc.(syscall.Conn), p.addr())
}

// bound tells whether p will do for what Listen would open for network and address.
func (p *passed) bound(network, address string) bool {
	if p.addr() == nil || p.addr().Network() != place.BaseNetwork(network) {
		return false
	}
	want, err := place.Wanted(network, address)
	return err == nil && p.boundTo().Serves(network, want)
}
