// Package sockopt is what is known of sockets beyond package net: how much lies in their queues, and how to keep
// out those who come. Most of it only Linux can; elsewhere its functions say that nothing is known, or do nothing.
// None of them closes what it is given, or keeps it.
package sockopt

import (
	"net"
	"syscall"
	"time"
)

// Listener is what *net.TCPListener and *net.UnixListener have in common.
type Listener interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// PacketConn is what *net.UDPConn and *net.UnixConn have in common.
type PacketConn interface {
	net.PacketConn
	syscall.Conn
}
