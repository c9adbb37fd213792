package listener

import (
	"slices"
	"strings"
	"syscall"

	"github.com/baton-go/baton/listener/internal/dgram"
	"github.com/baton-go/baton/listener/internal/quirks"
)

// A program may close a listener or a packet socket and listen again, as with net.Listen. What is closed is not passed
// on. Where another process holds the socket too, the address is not free: Listen has the same socket again.

// dropper is an Fds that can take back what it was given.
type dropper interface {
	DropListener(network, address string)
	DropPacketConn(network, address string)
	Shared() bool // a process that was started has what there is, and may fail
}

// hold keeps so until it is closed. The caller holds mu, where others have the set.
func (s *Set) hold(so *socket) {
	so.forget = s.forget
	s.sockets[so.key] = so
}

func (s *Set) forget(so *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sockets[so.key] == so {
		delete(s.sockets, so.key)
		s.closes(so.key, so.made, dropper.DropListener, so.ln)
	}
}

func (s *Set) forgetPackets(key string, made bool, g *dgram.Gate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packets[key] == g {
		delete(s.packets, key)
		s.closes(key, made, dropper.DropPacketConn, g.Socket())
	}
}

// closes is called when the socket of a key is about to be closed. Made tells that it was opened here. Where another
// process may hold the socket, the set keeps a copy, for the next Listen. The caller holds mu.
func (s *Set) closes(key string, made bool, drop func(d dropper, network, address string), socket syscall.Conn) {
	fds, ok := s.cfg.Fds.(dropper)
	if s.closed || !ok {
		return
	}
	s.reopens[key] = true
	network, address, _ := strings.Cut(key, " ")
	if s.stored[key] == "" && !fds.Shared() && (s.open || made) {
		for _, as := range quirks.Aliases(network) {
			drop(fds, as, address)
		}
		return
	}
	control(socket, func(fd int) {
		f := duplicate(fd, key)
		if f == nil {
			return
		}
		h := &inheritedFD{Inherited: Inherited{Network: network, Address: address}, copy: f}
		control(f, func(fd int) { h.FD, h.id = fd, identify(fd) })
		s.inherited = append(s.inherited, h)
	})
}

// control calls do with the descriptor of c, which, unlike by Fd, stays in the mode that it is in.
func control(c syscall.Conn, do func(fd int)) {
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { do(int(fd)) })
	}
}

// Reopens tells whether a socket for network and address was closed here.
func (s *Set) Reopens(network, address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reopens[network+" "+address]
}

// freeShared frees what was closed while another process had it, which has failed. The caller holds mu.
func (s *Set) freeShared() {
	s.inherited = slices.DeleteFunc(s.inherited, func(h *inheritedFD) bool {
		fds, ok := s.cfg.Fds.(dropper)
		free := ok && h.copy != nil && s.stored[h.key()] == ""
		if free {
			for _, as := range quirks.Aliases(h.Network) {
				fds.DropListener(as, h.Address)
				fds.DropPacketConn(as, h.Address)
			}
			_ = h.copy.Close()
		}
		return free
	})
}
