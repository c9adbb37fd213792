//go:build unix

package sdnotify

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// send sends a datagram as sd_notify(3) does, with the descriptor of file if there is one. No socket is no error.
func send(socket, text string, file ...syscall.Conn) error {
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(Wait))
	if len(file) == 0 {
		_, err = conn.Write([]byte(text))
		return err
	}
	to, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	from, err := file[0].SyscallConn()
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
