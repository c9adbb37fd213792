package listener

import (
	"net"
	"os"
	"slices"
	"strings"

	"github.com/baton-go/baton/listener/internal/place"
)

// Inherited is a listening or packet socket that the process before this one has passed on.
type Inherited struct {
	Network, Address string // as given to Listen or ListenPacket in that process
	FD               int    // stays the caller's, who may close it when all of Listen and ListenPacket have been called
}

// Key is what the process before this one calls the socket, in tickets and elsewhere.
func (in Inherited) key() string { return in.Network + " " + in.Address }

// Inherit tells the set which sockets the process before this one has passed on. Listen and
// ListenPacket then find each by what it is bound to, however network and address spell it. It must
// be called before them, and Manage may be called too.
func (s *Set) Inherit(sockets []Inherited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherits = true
	for _, in := range sockets {
		in.Network = strings.TrimSuffix(in.Network, kept)
		s.inherited = append(s.inherited, &heir{Inherited: in, id: identify(in.FD)})
	}
}

// heir is an inherited socket that nobody has asked for yet.
type heir struct {
	Inherited
	id string // of the socket, to know the descriptor again
}

// open returns a copy of the socket, or nil where it is none to listen on, or has been closed.
func (h *heir) open() *passed {
	if h.id == "" || identify(h.FD) != h.id {
		return nil
	}
	f := duplicate(h.FD, h.key())
	if f == nil {
		return nil
	}
	p := open(f)
	if p.addr() == nil {
		return nil
	}
	p.heir = h
	return p
}

// inherit returns the inherited socket to use for network and address, or nil, and takes it out of
// those that nobody has asked for: the one of that name, or else the one that is bound to what a
// new socket would be bound to.
func (s *Set) inherit(network, address string, packet bool) *passed {
	key := network + " " + address
	match := func(fits func(*passed) bool, candidates func(*heir) bool) *passed {
		for _, h := range s.inherited {
			if !candidates(h) {
				continue
			}
			p := h.open()
			if p == nil || packet && p.pc == nil || !packet && p.ln == nil || !fits(p) {
				p.close()
				continue
			}
			s.inherited = slices.DeleteFunc(s.inherited, func(o *heir) bool { return o == h })
			s.rename(h.key(), key)
			return p
		}
		return nil
	}
	yes := func(*passed) bool { return true }
	if p := match(yes, func(h *heir) bool { return h.key() == key }); p != nil {
		return p
	}
	if network == "fd" { // a name of the service manager's, which the generation before may have had by its address
		return match(yes, func(h *heir) bool { return s.held[h.key()] == address })
	}
	if len(s.inherited) == 0 {
		return nil
	}
	want, err := place.Wanted(network, address)
	if err != nil {
		return nil
	}
	return match(func(p *passed) bool { return p.boundTo().Is(want) || p.chosen(want) }, func(h *heir) bool {
		return h.Network == "fd" || place.BaseNetwork(h.Network) == want.Network
	})
}

// chosen tells whether the system has chosen the port of p for the same host, and is to choose one.
func (p *passed) chosen(want place.Place) bool {
	if p.heir == nil || place.IsUnix(want.Network) || want.Addr.Port() != 0 {
		return false
	}
	_, port, err := net.SplitHostPort(p.heir.Address)
	have := p.boundTo()
	return err == nil && (port == "" || strings.Trim(port, "0") == "") && have.Network == want.Network &&
		have.SameHost(want)
}

// overlapped returns the inherited sockets that nobody has asked for and that are in the way of a new one.
func (s *Set) overlapped(network, address string) (old []*heir) {
	if len(s.inherited) == 0 || place.IsUnix(network) || network == "fd" {
		return nil
	}
	want, err := place.Wanted(network, address)
	if err != nil {
		return nil
	}
	for _, h := range s.inherited {
		if p := h.open(); p != nil {
			if p.boundTo().Overlaps(want) {
				old = append(old, h)
			}
			p.close()
		}
	}
	return old
}

// rename keeps what the service manager holds under the key that this process uses.
func (s *Set) rename(old, key string) {
	if name, ok := s.held[old]; ok && old != key {
		delete(s.held, old)
		s.held[key] = name
	}
}

// forsake forgets the inherited sockets that nobody has asked for, and removes the files of those of unix: the process
// that goes on without them is the last one to know of them.
func (s *Set) forsake() {
	s.mu.Lock()
	gone := s.inherited
	s.inherited = nil
	var paths []string
	for key := range s.sockets {
		paths = append(paths, key)
	}
	for key := range s.packets {
		paths = append(paths, key)
	}
	s.mu.Unlock()
	for _, h := range gone {
		if place.IsUnix(h.Network) && isSocket(h.Address) && !slices.ContainsFunc(paths, h.sameFile) {
			_ = os.Remove(h.Address)
		}
	}
}

// sameFile tells whether the socket of that key has the file of h.
func (h *heir) sameFile(key string) bool {
	network, path, _ := strings.Cut(key, " ")
	return place.IsUnix(network) && place.SamePath(h.Address, path)
}
