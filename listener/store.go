package listener

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/place"
)

// Held returns under which name a service manager holds each socket, by network and address as
// given to Listen; it is to be given to the next generation's Manage.
//
// A stored socket outlives this process: Leave keeps its queue, and the file of a unix socket, for the next process.
// A disabled store is not noticed: systemd does not report that it stores nothing.
func (s *Set) Held() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.stored)
}

// Keep puts what is listened on into the store, but for what the store or the manager itself holds
// already. It takes out what earlier processes of the service have put there and this one does not
// listen on. It closes the sockets that were passed for nothing; unused names these. It is to be
// called once, when all listeners are there and the store listens to this process: systemd does to
// the main process alone. After an error the next generation tries again.
//
// What came under a name that Keep has not given, say from a .socket unit, is the manager's to
// keep.
func (s *Set) Keep() (unused []string, err error) {
	s.dropUnclaimed()
	s.mu.Lock()
	store, held, passed := s.store, maps.Clone(s.stored), s.passed
	s.passed = nil
	inUse := make(map[string]syscall.Conn)
	for key, so := range s.sockets {
		inUse[key] = so.ln
	}
	for key, g := range s.packets {
		inUse[key] = g.Socket()
	}
	s.mu.Unlock()

	drop := make(map[string]string) // names in the store, and the keys or addresses that they stood for
	for _, p := range passed {
		unused = append(unused, p.String())
		if addr := p.addr(); strings.HasPrefix(p.name, storePrefix) {
			drop[p.name] = ""
			if addr != nil {
				drop[p.name] = addr.Network() + " " + addr.String()
			}
		}
		p.close()
	}
	for key, name := range held {
		if inUse[key] == nil {
			delete(held, key)
			if strings.HasPrefix(name, storePrefix) {
				drop[name] = key
			}
		}
	}
	var errs []error
	if store != nil {
		errs = syncStore(store, held, inUse, drop)
	}
	for _, key := range drop {
		network, path, _ := strings.Cut(key, " ")
		if strings.HasPrefix(network, "unix") && inUse[key] == nil && isSocket(path) {
			_ = os.Remove(path)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = held
	return unused, errors.Join(errs...)
}

// syncStore brings the store, and stored, to what is in use.
func syncStore(store Store, held map[string]string, inUse map[string]syscall.Conn,
	drop map[string]string) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(drop)) {
		if err := store.Remove(name); err != nil {
			errs = append(errs, err)
			if isTimeout(err) {
				return errs
			}
		}
		maps.DeleteFunc(held, func(_, held string) bool { return held == name }) // a name may stand for several
	}
	for _, key := range slices.Sorted(maps.Keys(inUse)) {
		if held[key] != "" {
			continue
		}
		name := storeName(key)
		if err := store.Put(name, inUse[key]); err != nil {
			errs = append(errs, fmt.Errorf("listener: keep %s: %w", key, err))
			if isTimeout(err) {
				return errs
			}
			continue
		}
		held[key] = name
	}
	return errs
}

// dropUnclaimed forgets the unclaimed inherited sockets and removes the files of those of unix:
// this process is the last that knows of them.
func (s *Set) dropUnclaimed() {
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
		if place.IsUnix(h.Network) && isSocket(h.Address) && !isStrange(s.cfg.Fds, h.Address) &&
			!slices.ContainsFunc(paths, h.sameFile) {
			_ = os.Remove(h.Address)
		}
	}
}
