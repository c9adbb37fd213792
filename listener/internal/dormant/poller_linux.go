package dormant

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Poller waits for connections. Its methods may be called from any goroutine.
type Poller struct{ file *os.File }

// NewPoller returns a Poller, which costs a descriptor until Close.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = unix.SetNonblock(fd, true) // the runtime's own poller waits for this one then
	f := os.NewFile(uintptr(fd), "resting connections")
	if err = errors.Join(err, f.SetDeadline(time.Time{})); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Poller{f}, nil
}

// Add makes Wait return id once, when c has something to read, an end or an error too. The Poller forgets c when it
// is closed everywhere.
func (p *Poller) Add(c syscall.Conn, id int32) error {
	return p.control(func(own int) error {
		rc, err := c.SyscallConn()
		if err != nil {
			return err
		}
		ctlErr := rc.Control(func(fd uintptr) {
			err = unix.EpollCtl(own, unix.EPOLL_CTL_ADD, int(fd),
				&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: id})
		})
		return errors.Join(ctlErr, os.NewSyscallError("epoll_ctl", err))
	})
}

func (p *Poller) control(f func(fd int) error) error {
	rc, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	if ctlErr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Wait waits for some of them, and returns their ids. The error says that the Poller is closed.
func (p *Poller) Wait() (ids []int32, err error) {
	rc, err := p.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var events [128]unix.EpollEvent
	var n int
	readErr := rc.Read(func(fd uintptr) bool {
		n, err = unix.EpollWait(int(fd), events[:], 0)
		if errors.Is(err, unix.EINTR) {
			err = nil // the caller asks again
		}
		return n != 0 || err != nil
	})
	for _, e := range events[:max(0, n)] {
		ids = append(ids, e.Fd)
	}
	return ids, errors.Join(readErr, err)
}

// Close ends Wait.
func (p *Poller) Close() { _ = p.file.Close() }
