//go:build unix

package drain

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// storeTimeout bounds what the service manager may take to make room for a message.
const storeTimeout = 2 * time.Second

// fdStore is the file descriptor store of a service manager, at its NOTIFY_SOCKET; see sd_pid_notify_with_fds(3). It
// keeps nothing where the unit has no FileDescriptorStoreMax=, which it does not say.
type fdStore string

func theStore() (fdStore, bool) {
	socket := os.Getenv("NOTIFY_SOCKET")
	return fdStore(socket), strings.HasPrefix(socket, "/") || strings.HasPrefix(socket, "@")
}

// Put implements listener.Store. FDPOLL=0 makes the manager keep the socket whatever happens to it.
func (st fdStore) Put(name string, socket syscall.Conn) error {
	rc, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = rc.Control(func(fd uintptr) {
		sendErr = st.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, syscall.UnixRights(int(fd)))
	})
	return cmp.Or(err, sendErr)
}

// Remove implements listener.Store.
func (st fdStore) Remove(name string) error { return st.send("FDSTOREREMOVE=1\nFDNAME="+name, nil) }

func (st fdStore) send(message string, rights []byte) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: string(st), Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("drain: NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(storeTimeout))
	rc, err := conn.SyscallConn()
	if err == nil { // WriteMsgUnix sends no descriptors over a connected socket, and another can't wait until there is room
		var sendErr error
		err = rc.Write(func(fd uintptr) bool {
			sendErr = syscall.Sendmsg(int(fd), []byte(message), rights, nil, 0)
			return sendErr != syscall.EAGAIN
		})
		err = cmp.Or(err, sendErr)
	}
	if err != nil {
		return fmt.Errorf("drain: NOTIFY_SOCKET %s: %w", string(st), err)
	}
	return nil
}
