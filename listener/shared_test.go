//go:build linux

package listener

import (
	"context"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"
)

// A supervisor keeps the listening socket while the service stops and starts again.
func TestSocketThatOutlivesTheStopAccepts(t *testing.T) {
	one := next(t, nil, &http.Server{})
	two := next(t, one, &http.Server{}) // holds the socket, as a supervisor does
	check(t, one.set.Leave(context.Background(), nil, 0))
	wantHandshake(t, two.ln.Addr().String())
}

// wantHandshake connects, and wants no handshake to have been dropped: the kernel would have tried again a
// second later.
func wantHandshake(t testing.TB, address string) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	check(t, err)
	defer nc.Close()
	rc, err := nc.(*net.TCPConn).SyscallConn()
	check(t, err)
	var info *unix.TCPInfo
	if cerr := rc.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP,
			unix.TCP_INFO)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if info.Total_retrans > 0 {
		t.Errorf("the client had to send %d segments again", info.Total_retrans)
	}
}
