package sockopt

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// IsListening tells a listening socket from a connection.
func IsListening(ln Listener) (yes bool) {
	_ = control(ln, func(fd int) error {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		yes = err == nil && n != 0
		return nil
	})
	return yes
}

// DropHandshakes makes a TCP listening socket ignore new handshakes, while those under way come to
// their end. A classic BPF program for the socket drops segments with SYN in the flags, the 14th
// byte of the header. Their clients send again a second later.
func DropHandshakes(ln Listener) bool {
	const tcpFlags, syn = 13, 0x02
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	}
	return ln.Addr().Network() == "tcp" && control(ln, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}) == nil
}

// AllowHandshakes undoes DropHandshakes.
func AllowHandshakes(ln Listener) {
	_ = control(ln, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
}

// RefuseClients makes a unix listening socket refuse clients, for good, but for those in its queue:
// see unix_stream_connect in Linux's net/unix/af_unix.c, which looks at shutdown(2). For TCP see
// DropHandshakes.
func RefuseClients(ln Listener) {
	if ln.Addr().Network() == "unix" {
		_ = control(ln, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
	}
}

// QueueLen is how many connections wait in the queue of a listening socket, and how many have room
// there. Of unix sockets the kernel tells neither: then it is as many as any socket may have.
func QueueLen(ln Listener) (now, most int) {
	now = MaxQueue()
	most = now
	_ = control(ln, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.State == listening {
			now, most = int(info.Unacked), int(info.Sacked)+1
		}
		return err
	})
	return now, most
}

const listening = 10 // TCP_LISTEN

// MaxQueue is how many connections may wait at most in the queue of any listening socket.
func MaxQueue() int {
	const usual = 4096
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if n, convErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && convErr == nil {
		return n + 1
	}
	return usual
}

// sweepTime bounds a sweep of the queue, which clients may fill as fast as it is emptied.
const sweepTime = time.Second

// AcceptQueued accepts the connections in the kernel's queue and gives them to take, until take returns
// false. It accepts most connections at most, and for sweepTime at most. For want of a descriptor they
// stay in the queue. While take runs, another goroutine may close the socket.
func AcceptQueued(ln syscall.Conn, most int, take func(*os.File) bool) error {
	until := time.Now().Add(sweepTime)
	for n := 0; n < most && time.Now().Before(until); {
		var nfd int
		err := control(ln, func(fd int) (err error) {
			nfd, _, err = unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return err
		})
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil || !take(os.NewFile(uintptr(nfd), "accepted")):
			return err
		}
		n++
	}
	return nil
}

// ReserveFDs sets n descriptors aside until release is called. It is false when there are not so
// many.
func ReserveFDs(ln Listener, n int) (release func(), ok bool) {
	var fds []int
	release = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	err := control(ln, func(fd int) error {
		for range n {
			nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			fds = append(fds, nfd)
		}
		return nil
	})
	return release, err == nil
}

// BindShared returns a TCP socket that is bound to an address beside others that have SO_REUSEPORT,
// or nil. It does not listen yet. Of an IPv6 address, both says whether it is to have IPv4 clients
// too. Use, unless nil, is called before it is bound.
func BindShared(at netip.AddrPort, both bool, use Control) Listener {
	network, family, addr := "tcp4", unix.AF_INET, unix.Sockaddr(nil)
	if ip := at.Addr(); ip.Is4() {
		addr = &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	} else {
		network, family, addr = "tcp6", unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()),
			ZoneId: zoneID(ip.Zone()), Addr: ip.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "beside")
	defer f.Close()
	if family == unix.AF_INET6 {
		only := 1
		if both {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if rc, rcErr := f.SyscallConn(); rcErr == nil && use != nil {
		err = errors.Join(err, use(network, at.String(), rc))
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	if err != nil || unix.Bind(fd, addr) != nil {
		return nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil
	}
	return ln.(Listener)
}

func zoneID(zone string) uint32 {
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// Listen is listen(2), whose backlog the kernel cuts down to what may be.
func Listen(ln Listener) error {
	return control(ln, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, MaxQueue())) })
}

// SetReusePort lets other sockets of this user that have SO_REUSEPORT be bound beside ln, or does
// not any more.
func SetReusePort(ln Listener, yes bool) error {
	if ln.Addr().Network() != "tcp" {
		return nil
	}
	value := 0
	if yes {
		value = 1
	}
	return control(ln, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, value) })
}

// SharesPort tells whether a socket has SO_REUSEPORT.
func SharesPort(rc syscall.RawConn) (yes bool) {
	_ = rc.Control(func(fd uintptr) {
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT)
		yes = err == nil && n != 0
	})
	return yes
}

// Hide makes the kernel give new clients to a socket that overlaps this one, or refuse them, while handshakes under way
// come to their end here. It binds the socket to a network interface that does not exist: a bound socket gets clients
// from its interface alone. From Linux 5.7 on that takes no privilege; to undo it does.
func Hide(ln Listener) bool {
	return ln.Addr().Network() == "tcp" && control(ln, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, math.MaxInt32)
	}) == nil
}

// control calls f with the descriptor, which is not closed meanwhile.
func control(sc syscall.Conn, f func(fd int) error) (err error) {
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := rc.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(ctlErr, err)
}
