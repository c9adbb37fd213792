package drain_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A unix datagram socket in the store keeps its file and its queue through a kill and a stop; a version that
// does not have it any more removes both.
func TestUnixDatagramSocketInTheStore(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	path := filepath.Join(shortDir(t), "s")
	p := plan{Datagrams: [][2]string{{"unixgram", path}}}
	one := start(t, p, d.start)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c := one.sender("unixgram")
	for i, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s := one
		if i > 0 {
			s = start(t, p, d.start)
			c.want(1, "waits")
		}
		s.swap()
		s.wantAlone(s.main().PID)
		s.signal(s.main().PID, end)
		s.gone()
		c.send("waits")
	}
	two := start(t, p, d.start)
	c.want(1, "waits")
	if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
		t.Errorf("the socket's file is another: %v", err)
	}
	two.plan.Datagrams = nil
	two.replan()
	two.swap()
	two.wantAlone(two.main().PID)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody listens there: %v", err)
	}
	two.stop()
}
