package listener

import (
	"net"
	"testing"
)

// A sweep takes who has connected, so that the kernel's queue can go.
func TestSweepTakesWhatIsQueued(t *testing.T) {
	set := New(nil, nil)
	defer set.Close()
	so := mustListen(t, set, "tcp", "127.0.0.1:0").(*socket)
	set.Open()
	arrive := func() {
		t.Helper()
		nc, err := net.Dial("tcp", so.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
	const n = 8
	for range n {
		arrive()
	}
	if so.sweep(); len(so.queue) != n {
		t.Errorf("%d taken; want the %d that were there", len(so.queue), n)
	}
}
