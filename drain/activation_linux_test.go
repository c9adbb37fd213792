package drain_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// socketPath is where a unix socket can be that outlives a service.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "baton")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

const (
	tcpName = "baton.tcp+127.0.0.1%3A0"
	udpName = "baton.udp+127.0.0.1%3A0"
)

// Whatever ends the process, the next one goes on where it was, and nobody is refused meanwhile.
func TestStoredSocketsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	const clients = 8
	for _, network := range []string{"tcp", "unix"} {
		for _, end := range []string{"kill", "stop", "kill after swaps", "stop after swaps"} {
			t.Run(network+" "+end, func(t *testing.T) {
				t.Parallel()
				d := newDepot(t)
				p := plan{Network: network, DrainTimeout: 2 * hung, IdleGrace: patient}
				name := tcpName
				if network == "unix" {
					p.Addr = socketPath(t)
					name = "baton.unix+" + strings.ReplaceAll(p.Addr, "/", "%2F")
				}
				one := start(t, p, d.start)
				d.want(stored(one.pgid, name))
				crowd := one.attract(clients)
				broken := 0
				if strings.HasSuffix(end, "swaps") {
					one.swap()
					one.swap()
					one.wantAlone(one.main().PID)
					crowd.settle()
				}
				if strings.HasPrefix(end, "kill") {
					one.signal(one.main().PID, syscall.SIGKILL)
					broken = clients // those that were being answered
				} else {
					one.signal(one.main().PID, syscall.SIGTERM)
				}
				one.gone()
				one.wantNothingLost()
				two := start(t, p, d.start)
				if was, is := one.address(), two.address(); was != is {
					t.Errorf("listens on %s; was on %s", is, was)
				}
				crowd.end(broken)
				d.want(stored(one.pgid, name))
				two.swap()
				two.stop()
				if _, err := net.Dial(network, two.address()); err != nil {
					t.Errorf("the next process would have found a client: %v", err)
				}
			})
		}
	}
}

// A connection that the kernel has taken while no process lived is served by the next one. Datagrams wait as well.
func TestClientsWaitForTheNextProcess(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	one := start(t, plan{UDP: true}, d.start)
	d.want(stored(one.pgid, tcpName), stored(one.pgid, udpName))
	_, addr, _ := strings.Cut(one.noteSince(0, 0, "datagrams ").Note, " ")
	one.signal(one.pgid, syscall.SIGKILL)
	one.gone()
	c := one.connect()
	if err := c.send("GET", "/whoami", ""); err != nil {
		t.Fatal(err)
	}
	u, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write([]byte("waits")); err != nil {
		t.Fatal(err)
	}
	two := start(t, plan{UDP: true}, d.start)
	if a, err := c.receive(); err != nil || a.pid != two.pgid {
		t.Errorf("%+v, %v; want an answer of %d", a, err, two.pgid)
	}
	_ = u.SetDeadline(time.Now().Add(hung))
	buf := make([]byte, 64)
	if n, err := u.Read(buf); err != nil || !strings.HasSuffix(string(buf[:n]), "waits") {
		t.Errorf("%q, %v", buf[:n], err)
	}
	two.swap()
	two.stop()
	d.want(stored(one.pgid, tcpName), stored(one.pgid, udpName))
}

// The store follows what the versions listen on, and only the main generation speaks to it.
func TestNewVersionsChangeTheStore(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	sock, other := socketPath(t), socketPath(t)
	name := func(path string) string { return "baton.unix+" + strings.ReplaceAll(path, "/", "%2F") }
	s := start(t, plan{Also: [][2]string{{"unix", sock}}}, d.start)
	said := []saying{stored(s.pgid, tcpName), stored(s.pgid, name(sock))}
	d.want(said...)

	s.plan.Also = [][2]string{{"unix", other}}
	s.plan.Fault = "check fails"
	s.replan()
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.eventSince(mark, 1, "swap failed")
	d.want(said...)
	for _, path := range []string{sock} {
		if _, err := net.Dial("unix", path); err != nil {
			t.Errorf("after a swap that failed: %v", err)
		}
	}

	s.plan.Fault = ""
	s.replan()
	two := s.swap()
	said = append(said, removed(two.PID, name(sock)), stored(two.PID, name(other)))
	d.want(said...)
	if _, err := os.Stat(sock); err == nil {
		t.Error("nobody listens on the unix socket, and its file is there")
	}
	s.wantAlone(two.PID)
	s.swap()
	d.want(said...)
	s.stop()
	if _, err := net.Dial("unix", other); err != nil {
		t.Errorf("the unix socket did not outlive the stop: %v", err)
	}

	// The same with a restart in place of a swap.
	s = start(t, plan{}, d.start)
	if r := s.event(1, "passed sockets that nobody listens on are closed"); r.Phase != "starting" {
		t.Error(r)
	}
	d.want(append(said, removed(s.pgid, name(other)))...)
	if _, err := os.Stat(other); err == nil {
		t.Error("nobody listens on the unix socket, and its file is there")
	}
	if names := d.names(); !slices.Equal(names, []string{tcpName}) {
		t.Errorf("held: %q", names)
	}
	s.stop()
}

// What socket units hold is found by name or by address. It is theirs: not stored, not removed, not unlinked.
func TestSocketUnits(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"notify socket", "none"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t)
			sock := socketPath(t)
			ln, err := net.Listen("unix", sock)
			if err != nil {
				t.Fatal(err)
			}
			ln.(*net.UnixListener).SetUnlinkOnClose(false)
			d.unit("local", ln.(*net.UnixListener))
			_ = ln.Close()
			web, plain := d.unitTCP("web"), d.unitTCP("app.socket")
			d.unitTCP("app.socket")
			tweak := d.start
			if with == "none" {
				tweak = d.pass
			}
			p := plan{IdleGrace: patient, Network: "fd", Addr: "web", Also: [][2]string{{"tcp", plain}, {"unix", sock}}}
			one := start(t, p, tweak)
			if one.address() != web {
				t.Errorf("listens on %s; want %s", one.address(), web)
			}
			if r := one.event(1, "passed sockets"); r.Phase != "starting" { // the second app.socket
				t.Error(r)
			}
			one.plan.Network = "tcp" // for the clients; the next generation is to have another plan
			for _, x := range p.Also {
				nc, err := net.Dial(x[0], x[1])
				if err != nil {
					t.Fatal(err)
				}
				_ = nc.Close()
			}
			body := one.get("/subprocess").body
			if strings.Contains(body, "LISTEN_") {
				t.Errorf("a subprocess has variables of the service's sockets:\n%s", body)
			}
			crowd := one.attract(4)
			one.swap()
			crowd.settle()
			one.swap()
			crowd.settle()
			one.signal(one.main().PID, syscall.SIGTERM)
			one.gone()
			one.wantNothingLost()
			two := start(t, p, tweak)
			crowd.end(0)
			two.plan.Network = "tcp"
			two.stop()
			if _, err := net.Dial("unix", sock); err != nil {
				t.Errorf("the socket unit's file: %v", err)
			}
			d.want()
		})
	}
}

func TestNamesThatAreNotPassed(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.unitTCP("web")
	d.unitTCP("twice")
	d.unitTCP("twice")
	for _, x := range []struct {
		ask  string
		want []string
	}{
		{"wbe", []string{`"wbe"`, "web (tcp 127.0.0.1:", "FileDescriptorName="}},
		{"twice", []string{"2 passed sockets have that name"}},
	} {
		s := begin(t, plan{Network: "fd", Addr: x.ask}, d.start)
		r := s.noteSince(0, 0, "error ")
		for _, want := range x.want {
			if !strings.Contains(r.Note, want) {
				t.Errorf("%s; want %q", r.Note, want)
			}
		}
		s.gone()
	}
	d.want()
}

// Variables that are meant for another process name nothing of this one's.
func TestForeignListenPIDIsIgnored(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.unitTCP("web")
	s := start(t, plan{}, d.pass, func(_ *service, cmd *exec.Cmd) {
		cmd.Args[2] = `export LISTEN_PID=1; exec "$0"`
	})
	if body := s.get("/subprocess").body; strings.Contains(body, "LISTEN_") {
		t.Errorf("a subprocess has variables of the service's sockets:\n%s", body)
	}
	s.swap()
	s.stop()
}

// Whatever the variables say, only sockets are touched that were passed: a number that is too large names
// descriptors of the Go runtime, and of the program.
func TestListenVariablesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, vars string
		passed     int // of one
	}{
		{"larger", "LISTEN_FDS=200", 1},
		{"huge", "LISTEN_FDS=2147483647", 1},
		{"beyond", "LISTEN_FDS=99999999999999999999", 0},
		{"negative", "LISTEN_FDS=-1", 0},
		{"none", "LISTEN_FDS=0", 0},
		{"garbage", "LISTEN_FDS=x", 0},
		{"odd names", `LISTEN_FDNAMES=':: \x00%n\:"'`, 1},
		{"one name too many", "LISTEN_FDNAMES=web:web:web", 1},
		{"no names", "LISTEN_FDNAMES=", 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t)
			address := d.unitTCP("web")
			p := plan{Addr: address}
			if x.passed == 0 {
				p.Addr = "127.0.0.1:0"
			}
			s := start(t, p, d.pass, func(_ *service, cmd *exec.Cmd) {
				cmd.Args[2] = strings.Replace(cmd.Args[2], "exec ", "export "+x.vars+"; exec ", 1)
			})
			s.get("/whoami") // by way of the poller
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
}

// A stored unix socket whose folder has gone with the service is of no use to anybody.
func TestStoredSocketWithoutItsFile(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	p := plan{Network: "unix", Addr: socketPath(t)}
	name := "baton.unix+" + strings.ReplaceAll(p.Addr, "/", "%2F")
	one := start(t, p, d.start)
	one.stop()
	if err := os.Remove(p.Addr); err != nil {
		t.Fatal(err)
	}
	two := start(t, p, d.start)
	d.want(stored(one.pgid, name), removed(two.pgid, name), stored(two.pgid, name))
	two.get("/whoami")
	two.swap()
	two.get("/whoami")
	two.stop()
	three := start(t, p, d.start)
	three.get("/whoami")
	three.stop()
}

// A service manager that is away, or does not read, delays a start a little and prevents nothing.
func TestStoreThatDoesNotListen(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"gone", "deaf", "garbage"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			path := socketPath(t)
			warned := true
			switch how {
			case "deaf":
				conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				full, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
				if err != nil {
					t.Fatal(err)
				}
				defer full.Close()
				rc, err := full.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				_ = rc.Control(func(fd uintptr) { // not by a deadline, which may be over before the queue is full
					for err == nil {
						_, err = syscall.Write(int(fd), []byte("STATUS=full"))
					}
				})
				if !errors.Is(err, syscall.EAGAIN) {
					t.Fatal(err)
				}
			case "garbage":
				path, warned = "vsock:2:1234", false
			}
			s := start(t, plan{Extra: "localhost:0"}, func(_ *service, cmd *exec.Cmd) {
				cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
			})
			if warned {
				if r := s.event(1, "the service manager's store"); !strings.Contains(r.Err, "NOTIFY_SOCKET") {
					t.Error(r)
				}
			}
			s.swap()
			s.stop()
		})
	}
}
