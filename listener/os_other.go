//go:build !linux

package listener

import (
	"net"
	"syscall"
)

// The loss ledger, the sweep of the queue, the wait without reading and service managers that pass sockets are Linux's.

func listens(rawListener) bool        { return true }
func dropHandshakes(rawListener) bool { return false }
func takeHandshakes(rawListener)      {}
func unread(net.Conn) int             { return 0 }
func unsent(net.Conn) int             { return 0 }
func backlog(syscall.Conn) []net.Conn { return nil }

func awaitEnd(nc net.Conn, p []byte) (int, error) { return nc.Read(p) }
