//go:build !linux

package sockopt

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Elsewhere than on Linux nothing is known of queues, and no client is kept out. Package net makes a
// listener of what may be one, AwaitEnd has to read, and a datagram may always be there.

func IsListening(Listener) bool                                    { return true }
func DropHandshakes(Listener) bool                                 { return false }
func AllowHandshakes(Listener)                                     {}
func RefuseClients(Listener)                                       {}
func QueueLen(Listener) (now, most int)                            { return 0, 0 }
func AcceptQueued(syscall.Conn, int, func(*os.File) bool) error    { return nil }
func ReserveFDs(Listener, int) (func(), bool)                      { return func() {}, true }
func BindShared(netip.AddrPort, bool, Control) Listener            { return nil }
func Listen(Listener) error                                        { return nil }
func SharesPort(syscall.RawConn) bool                              { return false }
func FileConn(f *os.File) (net.Conn, error)                        { return net.FileConn(f) }
func SetReusePort(Listener, bool) error                            { return nil }
func Hide(Listener) bool                                           { return false }
func Seal(PacketConn)                                              {}
func HasDatagram(PacketConn) bool                                  { return true }
func Unread(net.Conn) int                                          { return 0 }
func Unsent(net.Conn) int                                          { return 0 }
func Discard(net.Conn, int) bool                                   { return true }
func Peek(net.Conn, int) []byte                                    { return nil }
func ReadUnless(nc net.Conn, p []byte, _ func() bool) (int, error) { return nc.Read(p) }
func AwaitEnd(nc net.Conn, p []byte) (int, error)                  { return nc.Read(p) }

// SeesQueues tells whether it can be known here that a queue is empty.
const SeesQueues = false

// LastReadWait is how long a read waits for what may be queued.
const LastReadWait = 20 * time.Millisecond
