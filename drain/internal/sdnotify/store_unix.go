//go:build unix

package sdnotify

import (
	"fmt"
	"strings"
	"syscall"
)

// Store is the file descriptor store of a service manager, at its NOTIFY_SOCKET; see sd_pid_notify_with_fds(3). It
// keeps nothing where the unit has no FileDescriptorStoreMax=, which it does not say.
type Store string

// TheStore returns the store of the manager that NOTIFY_SOCKET names, if there may be one.
func TheStore() (Store, bool) {
	socket := Socket()
	there := strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "@")
	return Store(socket), there && !strings.HasPrefix(socket, AloneSocket)
}

// Put implements listener.Store. FDPOLL=0 makes the manager keep the socket whatever happens to it.
func (st Store) Put(name string, socket syscall.Conn) error {
	return st.explain(send(string(st), "FDSTORE=1\nFDPOLL=0\nFDNAME="+name, socket))
}

// Remove implements listener.Store.
func (st Store) Remove(name string) error {
	return st.explain(send(string(st), "FDSTOREREMOVE=1\nFDNAME="+name))
}

func (Store) explain(err error) error {
	if err != nil {
		return fmt.Errorf("drain: NOTIFY_SOCKET: %w", err)
	}
	return nil
}
