package drain_test

import (
	"net"
	"path/filepath"
	"testing"
)

// A program may close what it listens on, and listen there again: the address is free meanwhile, and
// what is new goes to the next generation, as what was there before did.
func TestReopening(t *testing.T) {
	listen := func(network, address string) (interface{ Close() error }, error) {
		if network == "udp" {
			return net.ListenPacket(network, address)
		}
		return net.Listen(network, address)
	}
	eachOf(t, func(t *testing.T, network string) {
		address := freePort(t)
		if network == "unix" {
			address = filepath.Join(shortDir(t), "sock")
		}
		p := plan{Also: [][2]string{{network, address}}, Fault: "reopens"}
		if network == "udp" {
			p.Also, p.Datagrams = nil, p.Also
		}
		s := start(t, p)
		answers := func() {
			t.Helper()
			nc := have(net.Dial(network, address))(t)
			defer nc.Close()
			have(nc.Write([]byte("GET /echo HTTP/1.0\r\n\r\n")))(t)
			have(nc.Read(make([]byte, 100)))(t)
		}
		free := func() {
			t.Helper()
			must(t, have(listen(network, address))(t).Close())
		}
		ok := func(err string) {
			t.Helper()
			if err != "" {
				t.Error(err)
			}
		}
		for range 2 {
			answers()
			ok(s.do("close"))
			free()
			ok(s.do("reopen"))
			answers()
			old := s.main().PID
			s.swap()
			s.wantAlone(s.another(old)) // it has a packet socket as long as it lives
		}
		// A candidate has it as well. It is that one's, and free if that fails.
		for _, fails := range []bool{true, false} {
			mark := s.mark()
			open := s.beginSwap("before New")
			ok(s.do("close"))
			ok(s.do("reopen"))
			answers()
			ok(s.do("close"))
			if fails {
				s.kill(s.noteSince(mark, 0, "at the gate").PID)
				s.eventSince(mark, 3, "swap failed")
				free()
				ok(s.do("reopen"))
			} else {
				open()
				s.await(mark, "a swap", func(r record) bool { return r.Msg == "promoted" })
			}
			answers()
		}
		s.stop()
		free()
	}, "tcp", "unix", "udp")
}
