package drain_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// respell makes the next generation listen elsewhere.
func (s *service) respell(network, address string) {
	s.plan.Network, s.plan.Addr = network, address
	s.replan()
}

// An address that overlaps the old one is taken in the same swap in which that is left, and no client on an
// address that both cover notices.
func TestNewVersionOverlapsItsOldAddress(t *testing.T) {
	at := freePort(t)
	_, port, _ := net.SplitHostPort(at)
	s := start(t, plan{Network: "tcp", Addr: at, MaxGenerations: 8})
	l, w := s.drive(4, 0), s.attractTo(at, 8)
	for _, next := range [][2]string{
		{"tcp", ":" + port}, {"tcp", at}, {"tcp4", "0.0.0.0:" + port}, {"tcp", ":" + port}, {"tcp4", ":" + port}, {"tcp", at},
	} {
		s.respell(next[0], next[1])
		s.swap()
		w.settle()
		other := net.JoinHostPort("127.0.0.2", port)
		s.eventually("only that to be open", func() bool { return reachable("tcp", other) == (next[1] != at) })
	}
	l.end()
	w.end()
	s.stop()
	s.wantNothingLost()
}

// A new version that fails before it is the main one has taken no client, and the address is as it was.
func TestNewVersionFailsBesideItsOldAddress(t *testing.T) {
	t.Parallel()
	for name, x := range map[string][2]string{"wider": {"127.0.0.1", ""}, "narrower": {"", "127.0.0.1"}} {
		t.Run(name, func(t *testing.T) {
			at := freePort(t)
			_, port, _ := net.SplitHostPort(at)
			s := start(t, plan{Network: "tcp", Addr: net.JoinHostPort(x[0], port)})
			w := s.attractTo(at, 8)
			s.plan.Fault = "check fails"
			s.respell("tcp", net.JoinHostPort(x[1], port))
			s.failedSwap()
			s.nextHas("")
			s.swap()
			w.end()
			s.stop()
			s.wantNothingLost()
		})
	}
}

// A datagram's socket can't wait beside another: the swap fails with the reason, and the cure is one.
func TestNewVersionOverlapsItsOldAddressForDatagrams(t *testing.T) {
	_, port, _ := net.SplitHostPort(freePort(t))
	s := start(t, plan{Datagrams: [][2]string{{"udp", net.JoinHostPort("127.0.0.1", port)}}})
	wider := [][2]string{{"udp", ":" + port}}
	s.plan.Datagrams = wider
	s.replan()
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), wider[0][1], "in use", "which this overlaps",
		"restart the service", "in one swap")
	s.plan.Datagrams = nil
	s.replan()
	s.swap()
	s.wantExit(s.pgid, 0)
	s.plan.Datagrams = wider
	s.replan()
	s.swap()
	s.stop()
}

// The old version's generations, too, inherit what was bound beside theirs, and leave theirs. Not promised:
// that a client gets in who connects at the very moment when such a generation closes its socket.
func TestTwoVersionsOverlapEachOther(t *testing.T) {
	v := bothVersions(t)
	at := freePort(t)
	_, port, _ := net.SplitHostPort(at)
	s := start(t, plan{Network: "tcp", Addr: at, MaxGenerations: 8}, v.begins("old"))
	l := s.drive(4, 0)
	for _, address := range []string{":" + port, at} {
		s.respell("tcp", address)
		for _, version := range []string{"new", "old"} {
			gen := v.swapTo(s, version).Gen
			s.eventually("the new generation to answer", func() bool { return s.get("/whoami").gen == gen })
		}
	}
	l.end()
	s.stop()
	s.wantNothingLost()
}
