package listener

import (
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
		_ = dialTo(t, so.Addr())
	}
	const n = 8
	for range n {
		arrive()
	}
	if so.sweep(); len(so.queue) != n {
		t.Errorf("%d taken; want the %d that were there", len(so.queue), n)
	}
}
