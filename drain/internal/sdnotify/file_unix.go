//go:build unix

package sdnotify

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sendFile sends a datagram with a descriptor, which go-systemd can't.
func sendFile(socket, text string, f syscall.Conn) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(Wait))
	to, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	from, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent, sendErr error
	err = from.Control(func(fd uintptr) {
		sendErr = to.Write(func(socket uintptr) bool { // WriteMsgUnix wants an address, which DialUnix has had
			err := unix.Sendmsg(int(socket), []byte(text), unix.UnixRights(int(fd)), nil, unix.MSG_NOSIGNAL)
			if err == unix.EAGAIN {
				return false
			}
			sent = err
			return true
		})
	})
	return errors.Join(err, sendErr, sent)
}
