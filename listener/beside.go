package listener

import (
	"slices"
	"strings"

	"github.com/baton-go/baton/listener/internal/place"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// A new version may want an address that overlaps one of the process before it: ":80" instead of
// "127.0.0.1:80". On Linux its TCP socket is bound beside the old one, with SO_REUSEPORT on both.
// It listens from Open on: before, it would take clients from a process that serves on if the swap
// fails. The old process learns of the old socket by Unclaimed. It serves the clients in that queue
// and closes it.
//
// A UDP socket receives as soon as it is bound, so there is no such way for it.

// listenBeside returns a socket that is bound and does not listen yet. It returns nil where that is
// not possible, or no inherited socket is in the way. SO_REUSEPORT stays on the inherited sockets
// until Unshare; only processes of this user could make use of it.
func (s *Set) listenBeside(network, address string, control sockopt.Control) sockopt.Listener {
	if !strings.HasPrefix(network, "tcp") || s.open {
		return nil
	}
	old := s.overlapped(network, address)
	want, err := place.Wanted(network, address)
	if len(old) == 0 || err != nil {
		return nil
	}
	for _, h := range old {
		if name := s.stored[h.key()]; name != "" && !strings.HasPrefix(name, storePrefix) {
			return nil // the service manager goes on to listen there, and would get the clients
		}
	}
	for _, so := range s.sockets { // SO_REUSEPORT would let two of this process in, but only this time
		if place.OfSocket(so.ln, so.Addr()).Overlaps(want) {
			return nil
		}
	}
	setReusePort(old, true)
	ln := sockopt.BindShared(want.Addr, want.Both, control)
	if ln == nil {
		setReusePort(old, false)
	}
	return ln
}

func setReusePort(old []*inheritedFD, yes bool) {
	for _, h := range old {
		if p := h.open(); p != nil {
			if p.ln != nil {
				_ = sockopt.SetReusePort(p.ln, yes)
			}
			p.close()
		}
	}
}

// Unshare undoes what a new process that has failed may have done to the sockets, to listen beside
// them.
func (s *Set) Unshare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freeShared()
	for key, so := range s.sockets {
		if s.stored[key] == "" { // or it may be the service manager's wish
			_ = sockopt.SetReusePort(so.ln, so.shares)
		}
	}
}

// Unclaimed returns the inherited sockets that no Listen or ListenPacket has asked for, by network and address as the
// process before this one gave them. That process must close them: give them to its Orphan.
func (s *Set) Unclaimed() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.inherited {
		if name := s.stored[h.key()]; name == "" || strings.HasPrefix(name, storePrefix) {
			keys = append(keys, h.key())
		}
	}
	return keys
}

// Orphan says which sockets no process will listen on after this one, although one takes over:
// Leave serves the clients in their queues before it closes them.
func (s *Set) Orphan(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = slices.Clone(keys)
}
