//go:build !linux

package sockopt

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// IsListening takes every socket that package net makes a listener of for a listening one.
func IsListening(Listener) bool { return true }

// DropHandshakes is Linux's.
func DropHandshakes(Listener) bool { return false }

// AllowHandshakes is Linux's.
func AllowHandshakes(Listener) {}

// RefuseClients is Linux's.
func RefuseClients(Listener) {}

// QueueLen knows of nobody.
func QueueLen(Listener) (now, most int) { return 0, 0 }

// AcceptQueued finds nobody.
func AcceptQueued(syscall.Conn, int, func(*os.File) bool) error { return nil }

// ReserveFDs sets nothing aside.
func ReserveFDs(Listener, int) (func(), bool) { return func() {}, true }

// BindShared is Linux's.
func BindShared(netip.AddrPort, bool) Listener { return nil }

// Listen has nothing to do: there is no BindShared.
func Listen(Listener) error { return nil }

// SetReusePort has nothing to do: there is no BindShared.
func SetReusePort(Listener, bool) error { return nil }

// Hide is Linux's.
func Hide(Listener) bool { return false }

// Seal is Linux's.
func Seal(PacketConn) {}

// HasDatagram does not know, so there may be one.
func HasDatagram(PacketConn) bool { return true }

// Unread knows of nothing.
func Unread(net.Conn) int { return 0 }

// Unsent knows of nothing.
func Unsent(net.Conn) int { return 0 }

// Discard throws nothing away.
func Discard(net.Conn, int) bool { return true }

// Peek sees nothing.
func Peek(net.Conn, int) []byte { return nil }

// AwaitEnd reads into p, there being no wait without a read.
func AwaitEnd(nc net.Conn, p []byte) (int, error) { return nc.Read(p) }

// SeesQueues tells whether it can be known here that a queue is empty.
const SeesQueues = false

// LastReadWait is how long a read waits for what may be queued.
const LastReadWait = 20 * time.Millisecond
