package listener

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unread is how many bytes the client has sent that nobody has read.
func unread(nc net.Conn) int { return queue(nc, unix.SIOCINQ) }

// unsent is how many bytes were written that the client has not received.
func unsent(nc net.Conn) int { return queue(nc, unix.SIOCOUTQ) }

func queue(nc net.Conn, which uint) (n int) {
	if sc, ok := nc.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			_ = rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), which) })
		}
	}
	return n
}

// discard throws away what the client has sent, up to a number of bytes, and tells whether nothing
// can come any more. It must not go on as long as something comes: meanwhile nobody can close the
// connection, and a flood has no end.
func discard(nc net.Conn, most int) (over bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	over = true // also when it is closed here
	_ = rc.Control(func(fd uintptr) {
		var b [4096]byte
		for got := 0; got < most; {
			n, _, err := unix.Recvfrom(int(fd), b[:min(len(b), most-got)], unix.MSG_DONTWAIT)
			switch {
			case n > 0:
				got += n
			case err == unix.EINTR:
				got++
			default:
				over = err != unix.EAGAIN
				return
			}
		}
		over = false
	})
	return over
}

// awaitEnd is a Read that waits until the client has closed the connection, or a deadline is over, and reads nothing.
func awaitEnd(nc net.Conn, _ []byte) (int, error) {
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

// listens tells a listening socket from a connection.
func listens(ln rawListener) (yes bool) {
	if rc, err := ln.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) {
			n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
			yes = err == nil && n != 0
		})
	}
	return yes
}

// dropHandshakes makes a TCP listening socket ignore new handshakes, while those under way come to
// their end: a classic BPF program for the socket drops segments with SYN in the flags, the 14th
// byte of the header. Their clients send again a second later.
func dropHandshakes(ln rawListener) bool {
	rc, err := ln.SyscallConn()
	if err != nil || ln.Addr().Network() != "tcp" {
		return false
	}
	const tcpFlags, syn = 13, 0x02
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	}
	attached := false
	_ = rc.Control(func(fd uintptr) {
		attached = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) == nil
	})
	return attached
}

// takeHandshakes undoes dropHandshakes.
func takeHandshakes(ln rawListener) {
	if rc, err := ln.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	}
}

// refuse makes a unix listening socket refuse clients, for good, but for those in its queue: see unix_stream_connect in
// Linux's net/unix/af_unix.c, which looks at shutdown(2). For TCP see dropHandshakes.
func refuse(ln rawListener) {
	if ln.Addr().Network() != "unix" {
		return
	}
	if rc, err := ln.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	}
}

// queueLen is how many connections wait in the queue of a listening socket, and how many have room
// there. Of unix sockets the kernel tells neither: then it is as many as any socket may have.
func queueLen(ln rawListener) (now, most int) {
	now = somaxconn()
	most = now
	rc, err := ln.SyscallConn()
	if err != nil || ln.Addr().Network() != "tcp" {
		return now, most
	}
	_ = rc.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil &&
			info.State == listening {
			now, most = int(info.Unacked), int(info.Sacked)+1
		}
	})
	return now, most
}

const listening = 10 // TCP_LISTEN

func somaxconn() int {
	const usual = 4096
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if n, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && convErr == nil {
		return n + 1
	}
	return usual
}

// sweepTime bounds a sweep of the queue, which clients may fill as fast as it is emptied.
const sweepTime = time.Second

// backlog takes connections out of the kernel's queue and gives them to take, until that says no:
// those that are there, but not more than most, nor for longer than sweepTime. For want of a
// descriptor they stay in the queue.
func backlog(ln syscall.Conn, most int, take func(*os.File) bool) (err error) {
	rc, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	until := time.Now().Add(sweepTime)
	ctlErr := rc.Control(func(fd uintptr) {
		for n := 0; n < most && time.Now().Before(until); {
			var nfd int
			nfd, _, err = unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			switch {
			case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
				continue
			case err != nil || !take(os.NewFile(uintptr(nfd), "accepted")):
				return
			}
			n++
		}
	})
	return errors.Join(ctlErr, err)
}

// reserve sets n descriptors aside until release is called. It is false when there are not so many.
func reserve(ln rawListener, n int) (release func(), ok bool) {
	var fds []int
	release = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	rc, err := ln.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) {
			for range n {
				nfd, dupErr := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
				if dupErr != nil {
					return
				}
				fds = append(fds, nfd)
			}
		})
	}
	return release, err == nil && len(fds) == n
}

// seal keeps datagrams out of a socket, but for those in its queue, for good; see shutdown(2) for unix sockets. One of
// UDP is connected to itself where that changes nothing else about it, which makes the kernel refuse what others send:
// with connect(2) a socket that is bound to all addresses would choose one to send from. That takes a filter.
func seal(pc rawPacketConn) {
	rc, err := pc.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		addr, ok := pc.LocalAddr().(*net.UDPAddr)
		if !ok {
			_ = unix.Shutdown(int(fd), unix.SHUT_RD)
			return
		}
		if !addr.IP.IsUnspecified() && !addr.IP.IsMulticast() {
			if self, err := unix.Getsockname(int(fd)); err == nil && unix.Connect(int(fd), self) == nil {
				return
			}
		}
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		_ = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: 1, Filter: &drop})
	})
}

// lastRead bounds a read for which something is there: it may go when it is looked at, with a wrong checksum.
const lastRead, peeks = time.Second, true

// queued tells whether there is a datagram to read, be it one without content.
func queued(pc rawPacketConn) (some bool) {
	rc, err := pc.SyscallConn()
	if err != nil {
		return false
	}
	_ = rc.Control(func(fd uintptr) {
		var b [1]byte
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		}
		some = !errors.Is(err, unix.EAGAIN) // an error is the reader's to get
	})
	return some
}
