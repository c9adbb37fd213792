//go:build unix && !linux

package listener

import (
	"net"
	"testing"
)

// wantHandshake connects: only on Linux handshakes are ever dropped.
func wantHandshake(t testing.TB, address string) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	check(t, err)
	_ = nc.Close()
}
