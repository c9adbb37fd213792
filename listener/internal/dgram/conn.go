package dgram

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Conn returns the socket with its reads behind the gate. It has all methods of the socket; its
// Close is the Gate's.
func (g *Gate) Conn() net.PacketConn {
	if pc, ok := g.pc.(*net.UDPConn); ok {
		return udpConn{pc, g}
	}
	return unixConn{g.pc.(*net.UnixConn), g}
}

// udpConn is a UDP socket whose reads go through a Gate.
type udpConn struct {
	*net.UDPConn
	gate *Gate
}

func (c udpConn) Read(p []byte) (n int, err error) {
	err = c.gate.read(func() error { n, err = c.UDPConn.Read(p); return err })
	return n, err
}

func (c udpConn) ReadFrom(p []byte) (n int, addr net.Addr, err error) {
	err = c.gate.read(func() error { n, addr, err = c.UDPConn.ReadFrom(p); return err })
	return n, addr, err
}

func (c udpConn) ReadFromUDP(p []byte) (n int, addr *net.UDPAddr, err error) {
	err = c.gate.read(func() error { n, addr, err = c.UDPConn.ReadFromUDP(p); return err })
	return n, addr, err
}

func (c udpConn) ReadFromUDPAddrPort(p []byte) (n int, addr netip.AddrPort, err error) {
	err = c.gate.read(func() error { n, addr, err = c.UDPConn.ReadFromUDPAddrPort(p); return err })
	return n, addr, err
}

func (c udpConn) ReadMsgUDP(p, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	err = c.gate.read(func() error { n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDP(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (c udpConn) ReadMsgUDPAddrPort(p, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	err = c.gate.read(func() error { n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDPAddrPort(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (c udpConn) SetReadDeadline(t time.Time) error     { return c.gate.setReadDeadline(t) }
func (c udpConn) SetDeadline(t time.Time) error         { return c.gate.setDeadline(t) }
func (c udpConn) SyscallConn() (syscall.RawConn, error) { return c.gate.syscallConn() }
func (c udpConn) Close() error                          { return c.gate.Close() }

// unixConn is a unix datagram socket whose reads go through a Gate.
type unixConn struct {
	*net.UnixConn
	gate *Gate
}

func (c unixConn) Read(p []byte) (n int, err error) {
	err = c.gate.read(func() error { n, err = c.UnixConn.Read(p); return err })
	return n, err
}

func (c unixConn) ReadFrom(p []byte) (n int, addr net.Addr, err error) {
	err = c.gate.read(func() error { n, addr, err = c.UnixConn.ReadFrom(p); return err })
	return n, addr, err
}

func (c unixConn) ReadFromUnix(p []byte) (n int, addr *net.UnixAddr, err error) {
	err = c.gate.read(func() error { n, addr, err = c.UnixConn.ReadFromUnix(p); return err })
	return n, addr, err
}

func (c unixConn) ReadMsgUnix(p, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	err = c.gate.read(func() error { n, oobn, flags, addr, err = c.UnixConn.ReadMsgUnix(p, oob); return err })
	return n, oobn, flags, addr, err
}

func (c unixConn) SetReadDeadline(t time.Time) error     { return c.gate.setReadDeadline(t) }
func (c unixConn) SetDeadline(t time.Time) error         { return c.gate.setDeadline(t) }
func (c unixConn) SyscallConn() (syscall.RawConn, error) { return c.gate.syscallConn() }
func (c unixConn) Close() error                          { return c.gate.Close() }

func (g *Gate) setDeadline(t time.Time) error {
	if err := g.setReadDeadline(t); err != nil {
		return err
	}
	return g.pc.SetWriteDeadline(t)
}

// gatedRawConn makes callers that read by system calls of their own read through a Gate, as x/net does for whole
// batches.
type gatedRawConn struct {
	syscall.RawConn
	gate *Gate
}

func (g *Gate) syscallConn() (syscall.RawConn, error) {
	rc, err := g.pc.SyscallConn()
	return gatedRawConn{rc, g}, err
}

// Read implements syscall.RawConn.
func (rc gatedRawConn) Read(f func(fd uintptr) bool) error {
	return rc.gate.read(func() error { return rc.RawConn.Read(f) })
}
