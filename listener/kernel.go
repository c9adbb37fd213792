package listener

import (
	"net"

	"github.com/baton-go/baton/listener/internal/sockopt"
)

// What connections ask the kernel most, by short names.

const peeks = sockopt.SeesQueues

func unread(nc net.Conn) int                      { return sockopt.Unread(nc) }
func unsent(nc net.Conn) int                      { return sockopt.Unsent(nc) }
func peek(nc net.Conn, n int) []byte              { return sockopt.Peek(nc, n) }
func awaitEnd(nc net.Conn, p []byte) (int, error) { return sockopt.AwaitEnd(nc, p) }
