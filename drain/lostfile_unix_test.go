//go:build unix

package drain_test

import (
	"errors"
	"io"
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
	s.awaitLog("has made it again", func() {})
	s.wantServed(child.PID)
	if _, err := os.Stat(s.plan.Addr); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
	s.wantNothingLost()
}

// Another program's socket is in the place of the service's own: a swap says so, and leaves it alone. When that program
// is gone, the next swap puts the service's own back.
func TestASwapSaysWhatIsAnothers(t *testing.T) {
	gram := socketPath(t)
	s := start(t, plan{Network: "unix", Addr: socketPath(t), Datagrams: [][2]string{{"unixgram", gram}}}, withControl)
	c := s.connect()
	paths := []string{s.plan.Addr, s.plan.Control, gram}
	var others []io.Closer
	for _, path := range paths {
		must(t, os.Remove(path))
		if path == gram {
			pc := have(net.ListenPacket("unixgram", path))(t)
			others = append(others, pc)
			continue
		}
		ln := have(net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}))(t)
		ln.SetUnlinkOnClose(false)
		others = append(others, ln)
	}
	before := make(map[string]os.FileInfo)
	for _, path := range paths {
		before[path] = have(os.Lstat(path))(t)
	}
	var main record
	for range 2 { // the generation after knows it, too
		main = s.swap()
		s.wantAlone(main.PID)
		s.wantAnswerOn(c, main.PID)
	}
	for _, path := range paths {
		s.awaitLine("level=WARN", path, "another program")
		if now, err := os.Lstat(path); err != nil || !os.SameFile(now, before[path]) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, other := range others {
		must(t, other.Close())
	}
	must(t, os.Remove(gram))
	main = s.swap()
	s.wantServed(main.PID)
	if _, err := os.Lstat(s.plan.Addr); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
	s.wantNoControl()
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
