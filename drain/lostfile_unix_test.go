//go:build unix

package drain_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"testing"
)

// Somebody has removed the file of a unix socket, as a program does that clears /tmp. The next swap puts one there, and
// who was connected, or about to be, is served.
func TestASwapPutsTheFileOfAUnixSocketBack(t *testing.T) {
	s := start(t, plan{Network: "unix", Addr: socketPath(t)})
	c := s.connect()
	s.wantAnswerOn(c, s.pgid)
	must(t, os.Remove(s.plan.Addr))
	child := s.swap()
	s.wantExit(s.pgid, 0)
	s.wantAnswerOn(c, child.PID)
	s.awaitLog("listens anew", func() {})
	s.wantServed(child.PID)
	if _, err := os.Stat(s.plan.Addr); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
	s.wantNothingLost()
}

// Another service may have put its own socket there, as one does that removes the file first. That one's file stays.
func TestAStopLeavesTheFileOfAnother(t *testing.T) {
	s := start(t, plan{Network: "unix", Addr: socketPath(t)})
	must(t, os.Remove(s.plan.Addr))
	other := have(net.Listen("unix", s.plan.Addr))(t)
	defer other.Close()
	s.stop()
	nc, err := net.Dial("unix", s.plan.Addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
}
