// Package dormant keeps connections at rest for next to nothing: for each its descriptor, and for all of them one
// goroutine that waits until one has something to read.
package dormant

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// Conn is a connected stream socket that is not read or written before Wake. Its methods may be called from any
// goroutine.
type Conn struct {
	mu   sync.Mutex // guards what follows; held while the descriptor is used
	fd   int        // -1: closed
	file *os.File   // has fd since a Wake has failed; or nil
}

var (
	errAsleep = errors.New("dormant: the connection rests")
	errNone   = errors.New("dormant: no connection, or its client has gone")

	// ErrBusy is what Wake returns while another goroutine uses the descriptor: to send it elsewhere may take long.
	ErrBusy = errors.New("dormant: the descriptor is in use")
)

// New takes a descriptor. Only Wake finds out whether it is that of a connection: to ask the kernel now would cost two
// system calls more for each connection of a swap.
func New(fd int) *Conn { return &Conn{fd: fd} }

// use calls f with the descriptor, which is not closed meanwhile.
func (c *Conn) use(f func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return f(c.fd)
}

// Wake returns the connection in package net's form, and closes this one. It closes it, too, where its client has
// gone. After another error this one goes on: the process may be out of descriptors, and Wake needs one for a moment.
func (c *Conn) Wake() (net.Conn, error) {
	if !c.mu.TryLock() {
		return nil, ErrBusy
	}
	defer c.mu.Unlock()
	nc, err := c.netConn()
	if err != nil {
		return nil, err
	}
	_ = c.file.Close()
	c.fd = -1
	if nc.RemoteAddr() == nil {
		_ = nc.Close()
		return nil, errNone
	}
	return nc, nil
}

// netConn is a copy in package net's form. The caller holds mu.
func (c *Conn) netConn() (net.Conn, error) {
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), "connection")
	}
	return sockopt.FileConn(c.file)
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	return c.use(func(fd int) error {
		c.fd = -1
		if c.file != nil {
			return c.file.Close()
		}
		return unix.Close(fd)
	})
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { local, _ := c.addrs(); return local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { _, remote := c.addrs(); return remote }

// addrs takes its time: it is called for a connection that is lost.
func (c *Conn) addrs() (local, remote net.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nc, err := c.netConn()
	if err != nil {
		return &net.TCPAddr{}, &net.TCPAddr{}
	}
	defer nc.Close()
	if remote = nc.RemoteAddr(); remote == nil { // the client has gone
		remote = &net.TCPAddr{}
	}
	return nc.LocalAddr(), remote
}

// Read implements net.Conn, by an error.
func (c *Conn) Read([]byte) (int, error) { return 0, errAsleep }

// Write implements net.Conn, by an error.
func (c *Conn) Write([]byte) (int, error) { return 0, errAsleep }

// SetDeadline implements net.Conn: nothing waits.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn: nothing waits.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn: nothing waits.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// CloseRead is that of net.TCPConn.
func (c *Conn) CloseRead() error { return c.shutdown(unix.SHUT_RD) }

// CloseWrite is that of net.TCPConn.
func (c *Conn) CloseWrite() error { return c.shutdown(unix.SHUT_WR) }

func (c *Conn) shutdown(how int) error {
	return c.use(func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, how)) })
}

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return raw{c}, nil }

type raw struct{ *Conn }

func (r raw) Control(f func(fd uintptr)) error {
	return r.use(func(fd int) error { f(uintptr(fd)); return nil })
}

func (raw) Read(func(fd uintptr) bool) error  { return errAsleep }
func (raw) Write(func(fd uintptr) bool) error { return errAsleep }
