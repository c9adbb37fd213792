//go:build !linux

package listener

import (
	"net"
	"syscall"
)

// The loss ledger, the sweep of the queue and the wait without reading are Linux's.

func dropHandshakes(rawListener) bool { return false }
func takeHandshakes(rawListener)      {}
func unread(net.Conn) int             { return 0 }
func backlog(syscall.Conn) []net.Conn { return nil }

func awaitEnd(nc net.Conn, p []byte) (int, error) { return nc.Read(p) }
