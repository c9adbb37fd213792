package listener

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/place"
	"github.com/baton-go/baton/listener/internal/quirks"
)

// Inherit tells the set which sockets the process before this one has passed on. Listen and
// ListenPacket then find each by what it is bound to, however network and address spell it. It must
// be called before them, and Manage may be called too.
func (s *Set) Inherit(sockets []Inherited) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inherits = true
	for _, in := range sockets {
		in.Network = strings.TrimSuffix(in.Network, quirks.Kept)
		s.fromPredecessor = append(s.fromPredecessor, &predecessorSocket{Inherited: in, id: identify(in.FD)})
	}
}

// inherit returns the inherited socket to use for network and address, or nil, and takes it out of
// those that nobody has asked for: the one of that name, or else the one that is bound to what a
// new socket would be bound to.
func (s *Set) takeFromPredecessor(network, address string, kind func(*inheritedSocket) bool) *inheritedSocket {
	key := network + " " + address
	match := func(fits func(*inheritedSocket) bool, candidates func(*predecessorSocket) bool) *inheritedSocket {
		for _, h := range s.fromPredecessor {
			if !candidates(h) {
				continue
			}
			p := h.open()
			if p == nil || !kind(p) || !fits(p) {
				p.close()
				continue
			}
			s.fromPredecessor = slices.DeleteFunc(s.fromPredecessor, func(o *predecessorSocket) bool { return o == h })
			s.rename(h.key(), key)
			return p
		}
		return nil
	}
	yes := func(*inheritedSocket) bool { return true }
	if p := match(yes, func(h *predecessorSocket) bool { return h.key() == key }); p != nil {
		return p
	}
	if network == "fd" { // a name of the service manager's, which the generation before may have had by its address
		return match(yes, func(h *predecessorSocket) bool { return s.stored[h.key()] == address })
	}
	if len(s.fromPredecessor) == 0 {
		return nil
	}
	want, err := place.Wanted(network, address)
	if err != nil {
		return nil
	}
	return match(func(p *inheritedSocket) bool { return p.boundTo().Is(want) || p.samePortChoice(want) }, func(h *predecessorSocket) bool {
		return h.Network == "fd" || place.BaseNetwork(h.Network) == want.Network
	})
}

// overlapped returns the inherited sockets that nobody has asked for and that are in the way of a new one.
func (s *Set) overlapped(network, address string) (old []*predecessorSocket) {
	if len(s.fromPredecessor) == 0 || place.IsUnix(network) || network == "fd" {
		return nil
	}
	want, err := place.Wanted(network, address)
	if err != nil {
		return nil
	}
	for _, h := range s.fromPredecessor {
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
	if name, ok := s.stored[old]; ok && old != key {
		delete(s.stored, old)
		s.stored[key] = name
	}
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
		s.stored[key] = name
	}
	for _, f := range files {
		s.fromManager = append(s.fromManager, newInheritedSocket(f))
	}
}

// passedNames is for errors.
func (s *Set) passedNames() string {
	if len(s.fromManager) == 0 {
		return "none"
	}
	var names []string
	for _, p := range s.fromManager {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// explain is like the function, but knows which process holds an address that is in use when this process
// does so itself, or the one before it.
func (s *Set) explain(network, address string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		if old := s.overlapped(network, address); len(old) > 0 {
			return fmt.Errorf("listener: listen %s %q: %w; the process before this one listens on %q, "+
				"which this overlaps, and is not "+
				"closed before this one takes over: restart the service, or leave the old address in one "+
				"swap and take the new one in the next",
				network, address, err, old[0].key())
		}
		if len(s.fromManager) > 0 {
			return fmt.Errorf("listener: listen %s %q: %w; if the service manager has passed the socket, "+
				"ask for it by the address it has, "+
				"or by its name on network \"fd\"; passed: %s", network, address, err, s.passedNames())
		}
	}
	return explain(network, address, err)
}

// claim returns the passed or inherited socket of a kind to use for network and address, or nil, and takes it out of
// those that nobody has asked for. Only "fd" makes an error of it that there is none.
func (s *Set) take(network, address string, kind func(*inheritedSocket) bool) (*inheritedSocket, error) {
	if p := s.takeFromPredecessor(network, address, kind); p != nil {
		return p, nil
	}
	key := network + " " + address
	var candidates []*inheritedSocket // the better ones first
	for _, p := range s.fromManager {
		switch {
		case !kind(p):
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
	s.fromManager = slices.DeleteFunc(s.fromManager, func(q *inheritedSocket) bool { return q == p })
	s.stored[key] = p.name
	return p, nil
}

// alias is the one for a socket, which p says came from elsewhere.
func (s *Set) alias(network, address string, p *inheritedSocket) string {
	all := quirks.Aliases(network)
	if p != nil && p.predecessor == nil || s.store != nil || s.stored[network+" "+address] != "" {
		return all[len(all)-1]
	}
	return network
}

// madeFile is the file of a unix socket that this process has made; "" where it has not.
func madeFile(network, address string, made bool) string {
	if !made || !strings.HasPrefix(network, "unix") || strings.HasPrefix(address, "@") {
		return ""
	}
	return address
}
