package sockopt

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FileConn is net.FileConn, which sets some options, but leaves these as they are.
func FileConn(f *os.File) (nc net.Conn, err error) {
	var had [5]int
	var errs [5]error
	options := [5][2]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_NODELAY},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	}
	ctlErr := control(f, func(fd int) error {
		for i, o := range options {
			had[i], errs[i] = unix.GetsockoptInt(fd, o[0], o[1])
		}
		nc, err = net.FileConn(f)
		for i, o := range options {
			if errs[i] == nil { // a unix socket has none of TCP's
				_ = unix.SetsockoptInt(fd, o[0], o[1], had[i])
			}
		}
		return err
	})
	return nc, ctlErr
}

// SeesQueues tells whether it can be known here that a queue is empty.
const SeesQueues = true

// Unread is how many bytes the client has sent that this process has not read.
func Unread(nc net.Conn) int { return queue(nc, unix.SIOCINQ) }

// Unsent is how many bytes were written that the client has not received.
func Unsent(nc net.Conn) int { return queue(nc, unix.SIOCOUTQ) }

func queue(nc net.Conn, which uint) (n int) {
	if sc, ok := nc.(syscall.Conn); ok {
		_ = control(sc, func(fd int) (err error) { n, err = unix.IoctlGetInt(fd, which); return err })
	}
	return n
}

// Discard throws away what the client has sent, up to a number of bytes, and tells whether nothing
// can come any more. It must not go on as long as something comes: meanwhile no goroutine can close the
// connection, and a flood has no end.
func Discard(nc net.Conn, most int) (over bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	over = true // also when it is closed here
	_ = control(sc, func(fd int) error {
		var b [4096]byte
		for got := 0; got < most; {
			n, _, err := unix.Recvfrom(fd, b[:min(len(b), most-got)], unix.MSG_DONTWAIT)
			switch {
			case n > 0:
				got += n
			case err == unix.EINTR:
				got++
			default:
				over = err != unix.EAGAIN
				return nil
			}
		}
		over = false
		return nil
	})
	return over
}

// AwaitEnd is a Read that waits until the client has closed the connection, or a deadline is over,
// and reads nothing.
func AwaitEnd(nc net.Conn, _ []byte) (int, error) {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var end error
	var b [1]byte
	err = rc.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			end = &net.OpError{Op: "read", Net: nc.LocalAddr().Network(), Source: nc.LocalAddr(),
				Addr: nc.RemoteAddr(), Err: err}
		case n == 0:
			end = io.EOF
		}
		return n <= 0
	})
	if end != nil {
		return 0, end
	}
	return 0, err
}

// ReadUnless is a Read that asks before it reads, and once something may be there, whether that
// stays. Then it returns ErrStays.
func ReadUnless(nc net.Conn, p []byte, stays func() bool) (n int, err error) {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	waitErr := rc.Read(func(fd uintptr) bool {
		if stays() {
			err = ErrStays
			return true
		}
		for n, err = unix.Read(int(fd), p); errors.Is(err, unix.EINTR); n, err = unix.Read(int(fd), p) {
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	var op *net.OpError
	switch {
	case errors.As(waitErr, &op):
		op.Op = "read" // as net/http looks for it
		return 0, waitErr
	case errors.Is(err, ErrStays):
		return 0, err
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: nc.LocalAddr().Network(), Source: nc.LocalAddr(), Addr: nc.RemoteAddr(),
			Err: os.NewSyscallError("read", err)}
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Peek returns the first of the n bytes that lie unread, and leaves them there.
func Peek(nc net.Conn, n int) (p []byte) {
	sc, ok := nc.(syscall.Conn)
	if !ok || n <= 0 {
		return nil
	}
	const most = 64 << 10
	b := make([]byte, min(n, most))
	_ = control(sc, func(fd int) error {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == nil && n > 0 {
			p = b[:n]
		}
		return err
	})
	return p
}
