package drain_test

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	tcpName = "baton.tcp+127.0.0.1%3A0"
	udpName = "baton.udp+127.0.0.1%3A0"
)

func unixName(path string) string { return "baton.unix+" + strings.ReplaceAll(path, "/", "%2F") }

// Whatever ends the process, the next one goes on where it was, and nobody is refused meanwhile.
func TestStoredSocketsOutliveTheProcess(t *testing.T) {
	const clients = 8
	type row struct {
		network string
		end     syscall.Signal
		swaps   int
	}
	eachOf(t, func(t *testing.T, x row) {
		d := newNotifySocket(t)
		p := plan{Network: x.network, DrainTimeout: 2 * hung, IdleGrace: patient}
		name := tcpName
		if x.network == "unix" {
			p.Addr = socketPath(t)
			name = unixName(p.Addr)
		}
		one := start(t, p, d.manages)
		d.wantStored(stored(one.pgid, name))
		crowd := one.attract(clients)
		for range x.swaps {
			one.swap()
			one.wantAlone(one.main().PID)
			crowd.settle()
		}
		one.signal(one.main().PID, x.end)
		one.gone()
		one.wantNothingLost()
		two := start(t, p, d.manages)
		if was, is := one.address(), two.address(); was != is {
			t.Errorf("listens on %s; was on %s", is, was)
		}
		broken := 0
		if x.end == syscall.SIGKILL {
			broken = clients // those that were being answered
		}
		crowd.endBroken(broken)
		d.wantStored(stored(one.pgid, name))
		two.swap()
		two.stop()
		if !reachable(x.network, two.address()) {
			t.Error("the next process would not have found a client")
		}
	}, row{"tcp", syscall.SIGKILL, 0}, row{"tcp", syscall.SIGTERM, 0},
		row{"tcp", syscall.SIGKILL, 2}, row{"tcp", syscall.SIGTERM, 2},
		row{"unix", syscall.SIGKILL, 0}, row{"unix", syscall.SIGTERM, 0},
		row{"unix", syscall.SIGKILL, 2}, row{"unix", syscall.SIGTERM, 2})
}

// A connection that the kernel has taken while no process lived is served by the next one. Datagrams wait as well.
func TestClientsWaitForTheNextProcess(t *testing.T) {
	d := newNotifySocket(t)
	one := start(t, plan{UDP: true}, d.manages)
	d.wantStored(stored(one.pgid, tcpName), stored(one.pgid, udpName))
	u := one.sender("udp")
	one.kill(one.pgid)
	one.gone()
	c := one.connect()
	must(t, c.send("GET", "/whoami", ""))
	u.send("waits")
	two := start(t, plan{UDP: true}, d.manages)
	if a, err := c.receive(); err != nil || a.pid != two.pgid {
		t.Errorf("%+v, %v; want an answer of %d", a, err, two.pgid)
	}
	u.want(1, "waits")
	two.swap()
	two.stop()
	d.wantStored(stored(one.pgid, tcpName), stored(one.pgid, udpName))
}

// The store follows what the versions listen on, and only the main generation speaks to it.
func TestNewVersionsChangeTheStore(t *testing.T) {
	d := newNotifySocket(t)
	sock, other := socketPath(t), socketPath(t)
	s := start(t, plan{Also: [][2]string{{"unix", sock}}}, d.manages)
	said := []string{stored(s.pgid, tcpName), stored(s.pgid, unixName(sock))}
	d.wantStored(said...)

	s.plan.Also = [][2]string{{"unix", other}}
	s.failSwap("check fails")
	d.wantStored(said...)
	if !reachable("unix", sock) {
		t.Error("a swap that failed has closed the unix socket")
	}

	two := s.swap()
	said = append(said, removed(two.PID, unixName(sock)), stored(two.PID, unixName(other)))
	d.wantStored(said...)
	wantNoFile(t, sock)
	s.wantAlone(two.PID)
	s.swap()
	d.wantStored(said...)
	s.stop()
	if !reachable("unix", other) {
		t.Error("the unix socket did not outlive the stop")
	}

	// The same with a restart in place of a swap.
	s = start(t, plan{}, d.manages)
	if r := s.event(1, "unused passed sockets are closed"); r.Phase != "ready" {
		t.Error(r)
	}
	d.wantStored(append(said, removed(s.pgid, unixName(other)))...)
	wantNoFile(t, other)
	if names := d.holds(); !slices.Equal(names, []string{tcpName}) {
		t.Errorf("held: %q", names)
	}
	s.stop()
}

// What socket units hold is found by name or by address. It is theirs: not stored, not removed, not unlinked.
func TestSocketUnits(t *testing.T) {
	each(t, map[string]bool{"notify socket": true, "none": false}, func(t *testing.T, managed bool) {
		d := newNotifySocket(t)
		sock := socketPath(t)
		ln := have(net.Listen("unix", sock))(t).(*net.UnixListener)
		ln.SetUnlinkOnClose(false)
		d.unit("local", ln)
		_ = ln.Close()
		web, plain := d.unitTCP("web"), d.unitTCP("app.socket")
		d.unitTCP("app.socket")
		tweak := d.pass
		if managed {
			tweak = d.manages
		}
		p := plan{IdleGrace: patient, Network: "fd", Addr: "web", Also: [][2]string{{"tcp", plain}, {"unix", sock}}}
		one := start(t, p, tweak)
		if one.address() != web {
			t.Errorf("listens on %s; want %s", one.address(), web)
		}
		if r := one.event(1, "unused passed sockets"); r.Phase != "ready" { // the second app.socket
			t.Error(r)
		}
		one.plan.Network = "tcp" // for the clients; the next generation is to have another plan
		for _, x := range p.Also {
			if !reachable(x[0], x[1]) {
				t.Errorf("nobody listens on %v", x)
			}
		}
		one.wantNoListenVariables()
		crowd := one.attract(4)
		for range 2 {
			one.swap()
			crowd.settle()
		}
		one.signal(one.main().PID, syscall.SIGTERM)
		one.gone()
		one.wantNothingLost()
		two := start(t, p, tweak)
		crowd.endBroken(0)
		two.plan.Network = "tcp"
		two.stop()
		if !reachable("unix", sock) {
			t.Error("the socket unit's file is gone")
		}
		d.wantStored()
	})
}

func (s *service) wantNoListenVariables() {
	s.Helper()
	if body := s.get("/subprocess").body; strings.Contains(body, "LISTEN_") {
		s.Errorf("a subprocess has variables of the service's sockets:\n%s", body)
	}
}

// Whatever the variables say, only sockets are touched that were passed: a number that is too large names
// descriptors of the Go runtime, and of the program.
func TestListenVariablesThatAreWrong(t *testing.T) {
	type row struct {
		vars   string
		passed int // of one
	}
	each(t, map[string]row{
		"larger":            {"LISTEN_FDS=200", 1},
		"huge":              {"LISTEN_FDS=2147483647", 1},
		"beyond":            {"LISTEN_FDS=99999999999999999999", 0},
		"negative":          {"LISTEN_FDS=-1", 0},
		"none":              {"LISTEN_FDS=0", 0},
		"garbage":           {"LISTEN_FDS=x", 0},
		"another process's": {"LISTEN_PID=1", 0},
		"odd names":         {`LISTEN_FDNAMES=':: \x00%n\:"'`, 1},
		"one name too many": {"LISTEN_FDNAMES=web:web:web", 1},
		"no names":          {"LISTEN_FDNAMES=", 1},
	}, func(t *testing.T, x row) {
		d := newNotifySocket(t)
		address := d.unitTCP("web")
		p := plan{Addr: address}
		if x.passed == 0 {
			p.Addr = "127.0.0.1:0"
		}
		s := start(t, p, d.pass, func(_ *service, cmd *exec.Cmd) {
			cmd.Args[2] = strings.Replace(cmd.Args[2], "exec ", "export "+x.vars+"; exec ", 1)
		})
		s.wantNoListenVariables() // asked by way of the poller
		if got := s.address() == address; got != (x.passed > 0) {
			t.Errorf("listens on %s; passed is %s", s.address(), address)
		}
		for range 2 {
			s.swap()
			s.get("/whoami")
		}
		s.stop()
	})
}

// A stored unix socket whose folder has gone with the service is of no use to anybody.
func TestStoredSocketWithoutItsFile(t *testing.T) {
	d := newNotifySocket(t)
	p := plan{Network: "unix", Addr: socketPath(t)}
	name := unixName(p.Addr)
	one := start(t, p, d.manages)
	one.stop()
	must(t, os.Remove(p.Addr))
	two := start(t, p, d.manages)
	d.wantStored(stored(one.pgid, name), removed(two.pgid, name), stored(two.pgid, name))
	two.get("/whoami")
	two.swap()
	two.get("/whoami")
	two.stop()
	three := start(t, p, d.manages)
	three.get("/whoami")
	three.stop()
}

// A unix datagram socket in the store keeps its file and its queue through a kill and a stop; a version that
// does not have it any more removes both.
func TestUnixDatagramSocketInTheStore(t *testing.T) {
	d := newNotifySocket(t)
	path := socketPath(t)
	p := plan{Datagrams: [][2]string{{"unixgram", path}}}
	s := start(t, p, d.manages)
	before := have(os.Stat(path))(t)
	c := s.sender("unixgram")
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s.swap()
		s.wantAlone(s.main().PID)
		s.signal(s.main().PID, end)
		s.gone()
		c.send("waits")
		s = start(t, p, d.manages)
		c.want(1, "waits")
	}
	if now := have(os.Stat(path))(t); !os.SameFile(before, now) {
		t.Error("the socket's file is another")
	}
	s.plan.Datagrams = nil
	s.replan()
	s.swap()
	s.wantAlone(s.main().PID)
	wantNoFile(t, path)
	s.stop()
}
