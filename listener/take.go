package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
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
		s.inherited = append(s.inherited, &inheritedFD{Inherited: in, id: identify(in.FD)})
	}
}

// takeInherited returns the inherited socket to use for network and address, and takes it out of the unclaimed ones. It
// is the socket of that name, or else the one that is bound where a new socket would be; nil where there is none.
func (s *Set) takeInherited(network, address string, kind func(*inheritedSocket) bool) *inheritedSocket {
	key := network + " " + address
	wanted := sync.OnceValues(func() (place.Place, error) { return place.Wanted(network, address) })
	for _, fits := range []func(*inheritedFD, *inheritedSocket) bool{
		func(fd *inheritedFD, _ *inheritedSocket) bool { return fd.key() == key },
		func(fd *inheritedFD, _ *inheritedSocket) bool { // the generation before may have had it by its address
			return network == "fd" && s.stored[fd.key()] == address
		},
		func(_ *inheritedFD, p *inheritedSocket) bool {
			want, err := wanted()
			return network != "fd" && err == nil && (p.boundTo().Is(want) || p.samePortChoice(want))
		},
	} {
		for i, fd := range s.inherited {
			p := fd.open()
			if p != nil && kind(p) && fits(fd, p) {
				s.inherited = slices.Delete(s.inherited, i, i+1)
				s.rename(fd.key(), key)
				_ = fd.copy.Close()
				return p
			}
			p.close()
		}
	}
	return nil
}

// overlapped returns the unclaimed inherited sockets that are in the way of a new one.
func (s *Set) overlapped(network, address string) (old []*inheritedFD) {
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

// rename keeps the name in the store under the key that this process uses.
func (s *Set) rename(old, key string) {
	if name, ok := s.stored[old]; ok && old != key {
		delete(s.stored, old)
		s.stored[key] = name
	}
}

// Manage tells the set of a service manager that holds sockets for the service, as systemd does.
// Files are those that it has passed to this process, each with its FDNAME as the file's name; the
// set closes them. Held is what Held has returned in the generation before. Store, unless nil, is
// where Keep puts what is in use.
//
// Manage must be called before Listen. Listen then uses a passed socket before it opens one. First
// comes the one that an earlier process of the service has stored for the same network and address,
// next one that is bound to the address. "", 0.0.0.0 and :: are the same address. Network "fd" is for
// sockets with a name: the address is the FDNAME.
func (s *Set) Manage(store Store, held map[string]string, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store = store
	for key, name := range held {
		s.stored[key] = name
	}
	for _, f := range files {
		s.passed = append(s.passed, newInheritedSocket(f))
	}
}

// passedNames lists the sockets of the service manager, for errors.
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

// explain wraps an error of opening a socket. Where this process or the one before it holds an
// address that is in use, it says so.
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
				network, address, bare(err), old[0].key())
		}
		if len(s.passed) > 0 {
			return fmt.Errorf("listener: listen %s %q: %w; if the service manager has passed the socket, "+
				"ask for it by the address it has, "+
				"or by its name on network \"fd\"; passed: %s", network, address, bare(err), s.passedNames())
		}
	}
	return explain(network, address, err)
}

// take returns the passed or inherited socket of a kind to use for network and address, and takes
// it out of the unclaimed ones. It returns nil where there is none; for "fd" that is an error.
func (s *Set) take(network, address string, kind func(*inheritedSocket) bool) (*inheritedSocket, error) {
	if p := s.takeInherited(network, address, kind); p != nil {
		return p, nil
	}
	key := network + " " + address
	var candidates []*inheritedSocket // the better ones first
	for _, p := range s.passed {
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
	s.passed = slices.DeleteFunc(s.passed, func(q *inheritedSocket) bool { return q == p })
	s.stored[key] = p.name
	return p, nil
}

// isLost tells whether p is an inherited unix socket whose file was removed or replaced. That of a service manager is
// the manager's to make again.
func (s *Set) isLost(p *inheritedSocket, address string) bool {
	if p == nil || p.from == nil || p.from.copy != nil || strings.HasPrefix(address, "@") {
		return false
	}
	name := s.stored["unix "+address]
	_, err := os.Stat(address)
	return (errors.Is(err, fs.ErrNotExist) || isStrange(s.cfg.Fds, address)) &&
		(name == "" || strings.HasPrefix(name, storePrefix))
}

// errStays is why a packet socket is not replaced: the new socket would not have what is in its queue.
var errStays = errors.New("a socket of datagrams stays as it is; restart the service")

// replace is called with what is lost when a new socket has taken its place, unless err says why that can't be. It
// returns the one to go on with, nil for the new one. The process before this one serves the clients in the queue of
// the other, see Unclaimed.
func (s *Set) replace(p *inheritedSocket, address string, err error) *inheritedSocket {
	if err != nil {
		cure := Cure("unix", address, err)
		if errors.Is(err, syscall.EADDRINUSE) {
			cure = "; stop the program that listens there now, and swap once more"
		}
		go s.cfg.OnWarning(fmt.Errorf("listener: the file of unix socket %q is gone, or another program's, so no "+
			"client can connect, and can't be made again: %w%s", address, bare(err), cure))
		return p
	}
	go s.cfg.OnWarning(fmt.Errorf("listener: the file of unix socket %q was gone, or another program's, so no client "+
		"could connect: this process has made it again; let no other program write its folder", address))
	s.inherited = append(s.inherited, p.from)
	s.rename("unix "+address, "lost "+address) // for Keep to take out of the store
	p.close()
	return nil
}

// alias is the network under which tableflip is to know a socket; p says where it came from.
func (s *Set) alias(network, address string, p *inheritedSocket) string {
	all := quirks.Aliases(network)
	if p != nil && p.from == nil || s.store != nil || s.stored[network+" "+address] != "" {
		return all[len(all)-1]
	}
	return network
}

// madeFile is the file of a unix socket that this process has made, "" for none.
func madeFile(network, address string, made bool) string {
	if !made || !strings.HasPrefix(network, "unix") || strings.HasPrefix(address, "@") {
		return ""
	}
	return address
}
