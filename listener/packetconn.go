package listener

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// face is what ListenPacket returns for in.
func (in *intake) face() net.PacketConn {
	if pc, ok := in.pc.(*net.UDPConn); ok {
		return udpSocket{pc, in}
	}
	return unixgramSocket{in.pc.(*net.UnixConn), in}
}

// udpSocket is a UDP socket whose reads go through the intake.
type udpSocket struct {
	*net.UDPConn
	in *intake
}

func (so udpSocket) Read(p []byte) (n int, err error) {
	err = so.in.read(func() error { n, err = so.UDPConn.Read(p); return err })
	return n, err
}

func (so udpSocket) ReadFrom(p []byte) (n int, addr net.Addr, err error) {
	err = so.in.read(func() error { n, addr, err = so.UDPConn.ReadFrom(p); return err })
	return n, addr, err
}

func (so udpSocket) ReadFromUDP(p []byte) (n int, addr *net.UDPAddr, err error) {
	err = so.in.read(func() error { n, addr, err = so.UDPConn.ReadFromUDP(p); return err })
	return n, addr, err
}

func (so udpSocket) ReadFromUDPAddrPort(p []byte) (n int, addr netip.AddrPort, err error) {
	err = so.in.read(func() error { n, addr, err = so.UDPConn.ReadFromUDPAddrPort(p); return err })
	return n, addr, err
}

func (so udpSocket) ReadMsgUDP(p, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	err = so.in.read(func() error { n, oobn, flags, addr, err = so.UDPConn.ReadMsgUDP(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (so udpSocket) ReadMsgUDPAddrPort(p, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	err = so.in.read(func() error { n, oobn, flags, addr, err = so.UDPConn.ReadMsgUDPAddrPort(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (so udpSocket) SetReadDeadline(t time.Time) error     { return so.in.setReadDeadline(t) }
func (so udpSocket) SetDeadline(t time.Time) error         { return so.in.setDeadline(t) }
func (so udpSocket) SyscallConn() (syscall.RawConn, error) { return so.in.syscallConn() }
func (so udpSocket) Close() error                          { return so.in.close() }

// unixgramSocket is a unix datagram socket whose reads go through the intake.
type unixgramSocket struct {
	*net.UnixConn
	in *intake
}

func (so unixgramSocket) Read(p []byte) (n int, err error) {
	err = so.in.read(func() error { n, err = so.UnixConn.Read(p); return err })
	return n, err
}

func (so unixgramSocket) ReadFrom(p []byte) (n int, addr net.Addr, err error) {
	err = so.in.read(func() error { n, addr, err = so.UnixConn.ReadFrom(p); return err })
	return n, addr, err
}

func (so unixgramSocket) ReadFromUnix(p []byte) (n int, addr *net.UnixAddr, err error) {
	err = so.in.read(func() error { n, addr, err = so.UnixConn.ReadFromUnix(p); return err })
	return n, addr, err
}

func (so unixgramSocket) ReadMsgUnix(p, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	err = so.in.read(func() error { n, oobn, flags, addr, err = so.UnixConn.ReadMsgUnix(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (so unixgramSocket) SetReadDeadline(t time.Time) error     { return so.in.setReadDeadline(t) }
func (so unixgramSocket) SetDeadline(t time.Time) error         { return so.in.setDeadline(t) }
func (so unixgramSocket) SyscallConn() (syscall.RawConn, error) { return so.in.syscallConn() }
func (so unixgramSocket) Close() error                          { return so.in.close() }

func (in *intake) setDeadline(t time.Time) error {
	if err := in.setReadDeadline(t); err != nil {
		return err
	}
	return in.pc.SetWriteDeadline(t)
}

// rawIntake makes those who read by system calls of their own, as x/net does for whole batches,
// read through the intake.
type rawIntake struct {
	syscall.RawConn
	in *intake
}

func (in *intake) syscallConn() (syscall.RawConn, error) {
	rc, err := in.pc.SyscallConn()
	return rawIntake{rc, in}, err
}

// Read implements syscall.RawConn.
func (rc rawIntake) Read(f func(fd uintptr) bool) error {
	return rc.in.read(func() error { return rc.RawConn.Read(f) })
}
