package sockopt

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Seal keeps datagrams out of a socket, but for those in its queue, for good. A unix socket is shut down for reading,
// see shutdown(2). A UDP socket that is bound to one address is connected to itself: the kernel refuses what others
// send. A socket that is bound to all addresses would choose one to send from by connect(2), so it gets a filter.
func Seal(pc PacketConn) {
	_ = control(pc, func(fd int) error {
		addr, ok := pc.LocalAddr().(*net.UDPAddr)
		if !ok {
			return unix.Shutdown(fd, unix.SHUT_RD)
		}
		if !addr.IP.IsUnspecified() && !addr.IP.IsMulticast() {
			if self, err := unix.Getsockname(fd); err == nil && unix.Connect(fd, self) == nil {
				return nil
			}
		}
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		all := unix.SockFprog{Len: 1, Filter: &drop}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &all)
	})
}

// LastReadWait bounds a read for which something is there: it may go when it is looked at, with a
// wrong checksum.
const LastReadWait = time.Second

// HasDatagram tells whether there is a datagram to read, be it one without content.
func HasDatagram(pc PacketConn) (some bool) {
	_ = control(pc, func(fd int) error {
		var b [1]byte
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			_, _, err = unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
		some = !errors.Is(err, unix.EAGAIN) // an error is the reader's to get
		return nil
	})
	return some
}
