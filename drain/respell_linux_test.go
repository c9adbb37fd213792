package drain_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	p.ChangeDir, p.DrainTimeout = dir, 2*hung
	s := start(t, p)
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
