package drain_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
		{"tcp", ":" + port}, {"tcp", at}, {"tcp4", "0.0.0.0:" + port},
		{"tcp", ":" + port}, {"tcp4", ":" + port}, {"tcp", at},
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
	each(t, map[string][2]string{
		"wider":    {"127.0.0.1", ""},
		"narrower": {"", "127.0.0.1"},
	}, func(t *testing.T, x [2]string) {
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
			s.eventually("the new generation to answer", func() bool {
				a, err := s.tryGet("/whoami") // which fails in that moment
				return err == nil && a.gen == gen
			})
		}
	}
	l.end()
	s.stop()
	s.wantNothingLost()
}

// A new version that spells its addresses otherwise has the same sockets, connections and datagrams, also those of
// generations that knew them by other names.
func TestNewVersionSpellsItsAddressesOtherwise(t *testing.T) {
	dir := shortDir(t)
	must(t, os.Symlink(dir, filepath.Join(dir, "link")))
	at, also := freePort(t), freePort(t)
	_, port, _ := net.SplitHostPort(at)
	_, alsoPort, _ := net.SplitHostPort(also)
	spell := func(p *plan, network, host, alsoNetwork, alsoHost, path string) {
		p.Network, p.Addr = network, net.JoinHostPort(host, port)
		p.Also = [][2]string{{alsoNetwork, net.JoinHostPort(alsoHost, alsoPort)}, {"unix", path + "s"}}
		p.Datagrams = [][2]string{{strings.Replace(network, "tcp", "udp", 1), net.JoinHostPort(host, port)},
			{"unixgram", path + "d"}}
	}
	var p plan
	spell(&p, "tcp", "127.0.0.1", "tcp", "", dir+"/")
	p.DrainTimeout = 2 * hung
	s := start(t, p, func(_ *service, cmd *exec.Cmd) { cmd.Dir = dir })
	l := s.drive(4, 0)
	sockets := []net.Conn{s.sender("udp").Conn, s.sender("unixgram").Conn}
	for _, at := range [][2]string{{"tcp", also}, {"unix", filepath.Join(dir, "s")}} {
		nc := have(net.Dial(at[0], at[1]))(t)
		defer nc.Close()
	}
	slow, open := s.slow("slow")
	for _, spelling := range [][5]string{
		{"tcp4", "localhost", "tcp", "0.0.0.0", "./"},
		{"tcp", "::ffff:127.0.0.1", "tcp", "::", "link/"},
		{"tcp", "localhost", "tcp", "", dir + "/link/"},
	} {
		spell(&s.plan, spelling[0], spelling[1], spelling[2], spelling[3], spelling[4])
		s.replan()
		gen := s.swap().Gen
		for _, nc := range sockets {
			c := &sender{s, nc}
			c.send("again")
			c.want(gen, "again")
		}
		for _, name := range []string{"s", "d"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
	}
	newest := s.main()
	if a := s.finishSlow(slow, open); a.close {
		t.Errorf("%+v; want the connection to be kept", a)
	}
	s.wantMoved(slow, newest)
	l.end()
	s.wantAlone(newest.PID)
	s.stop()
	s.wantNothingLost()
	for _, name := range []string{"s", "d"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is left behind", name)
		}
	}
}
