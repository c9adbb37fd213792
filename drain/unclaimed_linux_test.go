package drain

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/machine"
	"github.com/baton-go/baton/listener"
)

// The old generation hears which of its sockets the new one leaves to it, although the new one closes its own copies
// of them at that moment: the clients in their queues would be reset.
func TestServingNamesTheSocketsThatNobodyClaims(t *testing.T) {
	t.Parallel()
	near, old := linkPair(t)
	var left []listener.Inherited
	var keys []string
	for range 8 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		at := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}).String()
		left = append(left, listener.Inherited{Network: "tcp", Address: at, FD: fd})
		keys = append(keys, "tcp "+at)
	}
	e := newElder(near, 1, 1)
	s, _ := alone(t, machine.Probation, startedBy(e), func(r *runner) {
		r.state.Trusts, r.state.Successor.Trusts = true, true
		r.set.Inherit(left)
		r.parts = append(r.parts, part{acquire: func() {
			for len(r.set.Unclaimed()) > 0 { // until the store's part, which goes on elsewhere, has closed them
				time.Sleep(time.Millisecond)
			}
		}})
	})
	go s.run.adopter.hear(e)
	if err := old.Send(message{Kind: kindPromoted}); err != nil {
		t.Fatal(err)
	}
	m := next(t, old)
	for m.Kind != kindServing {
		m = next(t, old)
	}
	slices.Sort(keys)
	slices.Sort(m.Unused)
	if !slices.Equal(m.Unused, keys) {
		t.Errorf("it names %q; want %q", m.Unused, keys)
	}
	_ = old.Close()
	s.endTest()
}
