//go:build linux

package keepalived

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/examples/internal/flow"
)

// A packet of a connection that neither node has must not go round between
// them: its sender gets a reset.
func TestStray(t *testing.T) {
	s := newSite(t, true)
	s.settled()
	conn := s.stray()
	_ = conn.SetDeadline(time.Now().Add(flow.Patience))
	_, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\n")
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	handed := 0
	for _, n := range s.nodes {
		for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(n.Run("nft", "list",
			"table", "ip", "stay"), -1) {
			count, _ := strconv.Atoi(m[1])
			handed += count
		}
	}
	if handed != 1 {
		t.Errorf("handed to the other node %d times, want once", handed)
	}
}

// stray returns a connection that nobody but the client knows of.
func (s *site) stray() net.Conn {
	s.t.Helper()
	var conn net.Conn
	err := s.client.In(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "stray")
		defer f.Close()
		for _, step := range []func() error{
			func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) },
			func() error { return unix.Connect(fd, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{10, 77, 0, 100}}) },
			func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 0) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		conn, err = net.FileConn(f)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}
