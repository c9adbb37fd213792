package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wantNoStart wants a service to end with an error that says these words, and exit code 1.
func (s *service) wantNoStart(words ...string) {
	s.Helper()
	text := s.noteSince(0, 0, "error ").Note
	s.wantIn(text, words...)
	wantNoStutter(s, text)
	s.gone()
	s.wantExit(s.pgid, 1)
}

// cantStart is a plan that can't be, and what the error says.
type cantStart struct {
	plan  plan
	words []string
}

func because(p plan, words ...string) cantStart { return cantStart{p, words} }

// What keeps a service from starting it says, with the field of Config and the cure, and touches nothing of others'.
func TestServiceThatCantStartSaysWhy(t *testing.T) {
	other := start(t, plan{}, withControl, withPorts)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sock := have(net.Listen("unix", at("socket")))(t)
	must(t, errors.Join(write("no certificate", 0o600)(at("cert")), os.Mkdir(at("folder"), 0o700),
		syscall.Mkfifo(at("fifo"), 0o600), os.Symlink("fifo", at("link")), os.Symlink("/dev/zero", at("zero")),
		os.Symlink("/dev/tty", at("tty")), write("", 0o600)(at("large")), os.Truncate(at("large"), 1<<40),
		os.Mkdir(at("readonly"), 0o555)))
	readOnly := at("readonly/pid")
	if os.Geteuid() == 0 {
		readOnly = "/proc/pid" // where root may not write either
	}
	t.Cleanup(func() { // after the subtests
		_ = sock.Close()
		other.wantPIDFile(other.pgid)
		other.wantPorts()
		other.mustControl("stop")
	})

	rows := map[string]cantStart{
		"address in use": because(plan{Addr: other.address()},
			other.address(), "in use", "stop it"),
		"address in use, ListenAndServe": because(plan{Addr: other.address(), Fault: "ListenAndServe"},
			"in use"),
		"no port": because(plan{Addr: "127.0.0.1"},
			`"127.0.0.1"`, "missing port", "want host:port"),
		"bad port": because(plan{Addr: "127.0.0.1:70000"},
			"70000", "want host:port"),
		"not ours to have": because(plan{Addr: "192.0.2.1:0"},
			"192.0.2.1:0", "no interface of this machine has the address"),
		"bad network": because(plan{Network: "tpc"},
			`"tpc"`, "want tcp, tcp4, tcp6, unix or fd"),
		"unix socket in no folder": because(plan{Network: "unix", Addr: "/nowhere/sock"},
			"/nowhere/sock", "create the folder"),
		"PullMin beyond PullMax": because(plan{PullMin: 2 * time.Second, PullMax: time.Second},
			"PullMin", "PullMax"),
		"graceful server": because(plan{Polite: true, Fault: "lines fail"},
			"out of lines"),
		"no key": because(plan{Cert: at("cert"), Key: at("none"), Fault: "ListenAndServe"},
			at("none"), "name files that exist"),

		"PID file in no folder": because(plan{PIDFile: "/nowhere/pid"},
			"Config.PIDFile", "/nowhere/pid", "name a file in a folder that exists"),
		"PID file that can't be written": because(plan{PIDFile: readOnly},
			"Config.PIDFile", "may write"),
		"PID file of another service": because(plan{PIDFile: other.plan.PIDFile},
			"Config.PIDFile", other.plan.PIDFile, fmt.Sprint("process ", other.pgid), "alive and not ours",
			"stop it, or name another"),
		"PID file that is large": because(plan{PIDFile: at("large")},
			"Config.PIDFile", at("large"), "1099511627776 bytes", "name another"),

		"control socket of another service": because(plan{Control: other.plan.Control},
			"Config.ControlSocket", "answered by a living process", "name another"),
	}
	// What is no PID file is not opened: it might make the service wait, do something, or never end.
	for _, name := range []string{"fifo", "link", "zero", "tty", "socket", "folder"} {
		rows["PID file that is a "+name] = because(plan{PIDFile: at(name)},
			"Config.PIDFile", at(name), "not a regular file", "name another")
	}
	for name, row := range badPorts(other.plan) {
		rows[name] = row
	}
	each(t, rows, func(t *testing.T, c cantStart) { begin(t, c.plan).wantNoStart(c.words...) })
}

// badPorts are ports that can't be opened beside those of another service.
func badPorts(taken plan) map[string]cantStart {
	return map[string]cantStart{
		"heartbeat of another service": because(plan{Heartbeat: taken.Heartbeat},
			"Config.HeartbeatAddress", taken.Heartbeat, "in use", "held by process", "use another address"),
		"agent of another service": because(plan{Agent: taken.Agent},
			"Config.AgentAddress", taken.Agent, "in use", "held by process", "use another address"),
		"agent on no interface": because(plan{Agent: "192.0.2.1:7002"},
			"Config.AgentAddress", "no interface of this machine"),
		"heartbeat without port": because(plan{Heartbeat: "127.0.0.1"},
			"Config.HeartbeatAddress", "missing port", "want host:port"),
		"heartbeat on port 0": because(plan{Heartbeat: "127.0.0.1:0"},
			"Config.HeartbeatAddress", "another one after each swap"),
		"agent on no such port": because(plan{Agent: ":70000"},
			"Config.AgentAddress", "70000", "want host:port"),
		"both ports the same": because(plan{Heartbeat: "127.0.0.1:7", Agent: "127.0.0.1:7"},
			"Config.AgentAddress", "HeartbeatAddress", "each needs a port of its own"),
	}
}

// A name that no passed socket has, or more than one.
func TestNamesThatAreNotPassed(t *testing.T) {
	each(t, map[string][]string{
		"wbe":   {`"wbe"`, "web (tcp 127.0.0.1:", "FileDescriptorName="},
		"twice": {"2 passed sockets have that name"},
	}, func(t *testing.T, words []string) {
		d := newNotifySocket(t)
		for _, name := range []string{"web", "twice", "twice"} {
			d.unitTCP(name)
		}
		_, name, _ := strings.Cut(t.Name(), "/")
		begin(t, plan{Network: "fd", Addr: name}, d.manages).wantNoStart(words...)
		d.wantStored()
	})
}

// A folder in which others could put another socket is no place for the control socket, for no generation.
// controlsock.TestFolderOfOthers has all sorts of them.
func TestControlSocketInAFolderOfOthers(t *testing.T) {
	dir := shortDir(t)
	p := plan{Control: filepath.Join(dir, "c")}
	words := []string{"Config.ControlSocket", p.Control, "may be written by everybody (mode 0777)", "name a file in"}
	s := start(t, p)
	must(t, os.Chmod(dir, 0o777))
	s.failedSwap(words...)
	must(t, os.Chmod(dir, 0o700))
	s.swap()
	s.mustControl("stop")
	s.gone()
	must(t, os.Chmod(dir, 0o777))
	begin(t, p).wantNoStart(words...)
}
