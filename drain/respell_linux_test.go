package drain_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A new version that spells its addresses otherwise has the same sockets, connections and datagrams, also those of
// generations that knew them by other names.
func TestNewVersionSpellsItsAddressesOtherwise(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	at, also := freePort(t), freePort(t)
	_, port, _ := net.SplitHostPort(at)
	_, alsoPort, _ := net.SplitHostPort(also)
	spell := func(p *plan, network, host, alsoNetwork, alsoHost, path string) {
		p.Network, p.Addr = network, net.JoinHostPort(host, port)
		p.Also = [][2]string{{alsoNetwork, net.JoinHostPort(alsoHost, alsoPort)}, {"unix", path + "s"}}
		p.Datagrams = [][2]string{{strings.Replace(network, "tcp", "udp", 1), net.JoinHostPort(host, port)}, {"unixgram", path + "d"}}
	}
	var p plan
	spell(&p, "tcp", "127.0.0.1", "tcp", "", dir+"/")
	p.ChangeDir, p.DrainTimeout = dir, 2*hung
	s := start(t, p)
	l := s.drive(4, 0)
	sockets := []net.Conn{s.sender("udp").Conn, s.sender("unixgram").Conn}
	for _, at := range [][2]string{{"tcp", also}, {"unix", filepath.Join(dir, "s")}} {
		nc, err := net.Dial(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
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

// An address that overlaps the old one can't be opened beside it: the swap fails with the reason, and the cure is one.
func TestNewVersionOverlapsItsOldAddress(t *testing.T) {
	t.Parallel()
	for name, x := range map[string][2]string{"wider": {"127.0.0.1", ""}, "narrower": {"", "127.0.0.1"}, "another family": {"", "0.0.0.0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, port, _ := net.SplitHostPort(freePort(t))
			s := start(t, plan{Also: [][2]string{{"tcp", net.JoinHostPort(x[0], port)}}})
			s.plan.Also[0][1] = net.JoinHostPort(x[1], port)
			if name == "another family" {
				s.plan.Also[0][0] = "tcp4"
			}
			wider := s.plan.Also
			s.replan()
			mark := s.mark()
			s.signal(s.pgid, syscall.SIGHUP)
			s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), wider[0][1], "in use", "which this overlaps", "restart the service", "in one swap")
			s.plan.Also = nil
			s.replan()
			s.swap()
			s.wantExit(s.pgid, 0)
			s.plan.Also = wider
			s.replan()
			s.swap()
			nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.Close()
			s.stop()
		})
	}
}
