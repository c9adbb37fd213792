//go:build !linux

package listener

import (
	"net"
	"syscall"
)

// The loss ledger, the wait for what HTTP/2 has written last, the sweep of the queue, the wait without reading and service managers that pass sockets are Linux's.

func listens(rawListener) bool        { return true }
func dropHandshakes(rawListener) bool { return false }
func takeHandshakes(rawListener)      {}
func unread(net.Conn) int             { return 0 }
func delivered(net.Conn) bool         { return true }
func backlog(syscall.Conn) []net.Conn { return nil }

func awaitEnd(nc net.Conn, p []byte) (int, error) { return nc.Read(p) }
