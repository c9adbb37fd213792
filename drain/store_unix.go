//go:build unix

package drain

import (
	"fmt"
	"strings"
	"syscall"
)

// fdStore is the file descriptor store of a service manager, at its NOTIFY_SOCKET; see sd_pid_notify_with_fds(3). It
// keeps nothing where the unit has no FileDescriptorStoreMax=, which it does not say.
type fdStore string

func theStore() (fdStore, bool) {
	socket := notifySocket()
	there := strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "@")
	return fdStore(socket), there && !strings.HasPrefix(socket, aloneSocket)
}

// Put implements listener.Store. FDPOLL=0 makes the manager keep the socket whatever happens to it.
func (st fdStore) Put(name string, socket syscall.Conn) error {
	return st.explain(sendFile(string(st), "FDSTORE=1\nFDPOLL=0\nFDNAME="+name, socket))
}

// Remove implements listener.Store.
func (st fdStore) Remove(name string) error {
	return st.explain(sdNotify("FDSTOREREMOVE=1\nFDNAME=" + name))
}

func (fdStore) explain(err error) error {
	if err != nil {
		return fmt.Errorf("drain: NOTIFY_SOCKET: %w", err)
	}
	return nil
}
