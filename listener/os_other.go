//go:build !linux

package listener

import (
	"net"
	"os"
	"syscall"
	"time"
)

// The loss ledger, the wait until what was written has arrived, the sweep of the queue, the wait
// without reading, service managers that pass sockets and keeping datagrams out of a queue are
// Linux's.

func listens(rawListener) bool             { return true }
func dropHandshakes(rawListener) bool      { return false }
func takeHandshakes(rawListener)           {}
func refuse(rawListener)                   {}
func seal(rawPacketConn)                   {}
func queued(rawPacketConn) bool            { return true }
func unread(net.Conn) int                  { return 0 }
func unsent(net.Conn) int                  { return 0 }
func discard(net.Conn, int) bool           { return true }
func queueLen(rawListener) (now, most int) { return 0, 0 }

func backlog(syscall.Conn, int, func(*os.File) bool) error { return nil }
func reserve(rawListener, int) (func(), bool)              { return func() {}, true }

func awaitEnd(nc net.Conn, p []byte) (int, error) { return nc.Read(p) }

// lastRead is how long a read waits for what may be queued.
const lastRead, peeks = 20 * time.Millisecond, false
