//go:build unix

package link

import (
	"cmp"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is what a link runs over: bytes in their order, and descriptors that come with the first byte that they were
// sent with.
type Stream interface {
	io.ReadWriteCloser
	syscall.Conn
	// ReadFDs is Read, and returns the descriptors that came along, also where there is an error. The caller closes
	// them.
	ReadFDs(b []byte) (n int, fds []int, err error)
	// WriteFDs writes some of b, and copies of the descriptors with its first byte.
	WriteFDs(b []byte, files []syscall.Conn) (n int, err error)
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	CloseRead() error
	// Calm tells whether nothing has arrived that was not read, not even the end.
	Calm() bool
	// Hung tells whether the other end is closed everywhere, or this one is.
	Hung() bool
}

// socket is one end of a socketpair.
type socket struct{ *net.UnixConn }

func (s socket) ReadFDs(b []byte) (n int, fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := s.ReadMsgUnix(b, oob)
	fds, rightsErr := takeRights(oob[:oobn])
	return n, fds, cmp.Or(err, rightsErr)
}

func takeRights(oob []byte) (all []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if runtime.GOOS != "linux" { // where package net asks for it
				unix.CloseOnExec(fd)
			}
		}
		all = append(all, fds...)
	}
	return all, nil
}

func (s socket) WriteFDs(b []byte, files []syscall.Conn) (n int, err error) {
	rc, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	ended := rc.Write(func(fd uintptr) bool {
		// For this call alone: the owner of a connection is not to wait for a peer that reads nothing.
		err = withFDs(files, nil, func(fds []int) error {
			var rights []byte
			if len(fds) > 0 {
				rights = unix.UnixRights(fds...)
			}
			var err error
			for n, err = unix.SendmsgN(int(fd), b, rights, nil, 0); err == unix.EINTR; {
				n, err = unix.SendmsgN(int(fd), b, rights, nil, 0)
			}
			return err
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	return n, cmp.Or(ended, err)
}

// withFDs calls f while the descriptors of all files are held open.
func withFDs(files []syscall.Conn, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	rc, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = rc.Control(func(fd uintptr) { inner = withFDs(files[1:], append(fds, int(fd)), f) })
	return errors.Join(err, inner)
}

func (s socket) Calm() bool {
	events, err := s.poll(unix.POLLIN)
	return err == nil && events == 0
}

func (s socket) Hung() bool {
	events, err := s.poll(0)
	return err != nil || events&(unix.POLLHUP|unix.POLLERR) != 0
}

// poll returns what is true of this end now. The error says that it is closed.
func (s socket) poll(events int16) (int16, error) {
	rc, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	poll := []unix.PollFd{{Events: events}}
	err = rc.Control(func(fd uintptr) {
		poll[0].Fd = int32(fd)
		for _, err := unix.Poll(poll, 0); err == unix.EINTR; _, err = unix.Poll(poll, 0) {
		}
	})
	return poll[0].Revents, err
}
