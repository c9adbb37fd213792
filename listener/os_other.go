//go:build !linux

package listener

import (
	"net"
	"syscall"
)

// The loss ledger and the sweep of the queue are Linux's.

func unread(net.Conn) int             { return 0 }
func backlog(syscall.Conn) []net.Conn { return nil }
