package drain_test

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// forgetStart changes everything by which a program could start itself again.
func (g *gen) forgetStart() error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	text, _ := os.ReadFile("VERSION")
	g.note("started in %s, version %s, feature %s", wd, text, os.Getenv("FEATURE"))
	os.Args = []string{"ls", "-l"}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		_ = os.Unsetenv(name)
	}
	_ = os.Setenv("FEATURE", fmt.Sprint(os.Getpid()))
	_ = os.Setenv("PATH", "/usr/bin:/bin")
	os.Stdin, os.Stderr = nil, nil
	_, os.Stdout, err = os.Pipe()
	_ = os.Chdir("/")
	return err
}

// The next generation gets what the first was started with, and follows the links to a release anew.
func TestNextIsStartedAsTheFirstWas(t *testing.T) {
	var current string
	flip := func(version string) {
		t.Helper()
		must(t, os.Symlink(version, current+".new"))
		must(t, os.Rename(current+".new", current))
	}
	s := start(t, plan{Fault: "forgets its start"}, func(s *service, cmd *exec.Cmd) {
		current = filepath.Join(s.dir, "current")
		for _, v := range []string{"v1", "v2", "v3"} {
			dir := filepath.Join(s.dir, v)
			must(t, os.MkdirAll(dir+"/bin", 0o755))
			must(t, os.Link(s.binary, dir+"/bin/srv"))
			must(t, os.WriteFile(dir+"/VERSION", []byte(v), 0o644))
		}
		flip("v1")
		cmd.Dir, cmd.Path, cmd.Args = current, current+"/bin/srv", []string{"orders", "serve", "-x", ""}
		cmd.Env = append(cmd.Env, "SECRET=x", "SECRET=y", "odd", "EMPTY=")
	})
	of := func(pid int) (all []string) {
		t.Helper()
		for _, name := range []string{"cmdline", "environ"} {
			text := have(os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name)))(t)
			all = append(all, strings.Split(string(text), "\x00")...)
		}
		for fd := range 3 {
			to := have(os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)))(t)
			all = append(all, to)
		}
		return slices.DeleteFunc(all, func(v string) bool { return strings.HasPrefix(v, "TABLEFLIP_HAS_PARENT") })
	}
	first := of(s.pgid)
	for _, v := range []string{"v2", "v3"} {
		flip(v)
		mark := s.mark()
		pid := s.swap().PID
		if got := of(pid); !slices.Equal(got, first) {
			t.Errorf("%q; want %q", got, first)
		}
		if exe := s.noteSince(mark, pid, "begun").Note; !strings.HasSuffix(exe, v+"/bin/srv") {
			t.Errorf("%q; want that of %s", exe, v)
		}
		want := fmt.Sprintf("started in %s, version %s, feature ", filepath.Join(s.dir, v), v)
		if got := s.noteSince(mark, pid, "started in").Note; got != want {
			t.Errorf("%q; want %q", got, want)
		}
		_ = os.RemoveAll(filepath.Join(s.dir, "v1"))
	}
	_ = os.Remove(current)
	s.failedSwap("working folder", current)
	s.stop()
}

// Ps and killall find each generation, and the keeper, by the words and by the name that the service was started with.
func TestPSShowsWhatWasStarted(t *testing.T) {
	type way struct { // the command, then what ps shows
		path    string
		args    []string
		cmdline []string
		comm    string
	}
	mine, orders := []string{"my service", "serve all", ""}, []string{"./links/orders", "-x"}
	shell := []string{"sh", "-c", "exec links/orders -x"}
	each(t, map[string]way{
		"by its path":   {"DIR/srv", mine, mine, "srv"},
		"by a link":     {"DIR/links/orders", mine, mine, "orders"},
		"by a long one": {"DIR/links/orders-of-all-customers", mine, mine, "orders-of-all-c"},
		"from a folder": {"./links/orders", orders, orders, "orders"},
		"through PATH":  {"/usr/bin/env", []string{"env", "orders", "-x"}, []string{"orders", "-x"}, "orders"},
		"by a shell":    {"/bin/sh", shell, []string{"links/orders", "-x"}, "orders"},
	}, func(t *testing.T, w way) {
		for _, keeper := range []bool{false, true} {
			s := start(t, plan{Keeper: keeper}, func(s *service, cmd *exec.Cmd) {
				links := filepath.Join(s.dir, "links")
				must(t, os.Mkdir(links, 0o700))
				for _, name := range []string{"orders", "orders-of-all-customers"} {
					must(t, os.Symlink(s.binary, filepath.Join(links, name)))
				}
				cmd.Dir, cmd.Path, cmd.Args = s.dir, strings.Replace(w.path, "DIR", s.dir, 1), w.args
				cmd.Env = append(cmd.Env, "PATH="+links)
			})
			shows := func(what string, pid int) {
				t.Helper()
				comm := have(os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)))(t)
				cmdline := have(os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)))(t)
				if string(comm) != w.comm+"\n" || string(cmdline) != strings.Join(w.cmdline, "\x00")+"\x00" {
					t.Errorf("keeper %v, %s: %q, named %q; want %q", keeper, what, cmdline, comm, w)
				}
			}
			shows("generation 1", s.event(1, "ready").PID)
			shows("generation 2", s.swap().PID)
			shows("generation 3", s.swap().PID)
			if keeper {
				shows("the keeper", s.pgid)
			}
			s.stop()
		}
	})
}

// newcomer is a process that has the variables of a generation, and a parent that says nothing but the names of what is
// inherited. It must not hang on to that.
func newcomer(t *testing.T, names []byte, inherited ...*os.File) *service {
	return begin(t, plan{}, func(s *service, cmd *exec.Cmd) {
		_, ready := s.pipe()
		r, w := s.pipe()
		_ = have(w.Write(names))(t)
		if len(names) == 0 {
			_ = w.Close()
		}
		cmd.ExtraFiles = append([]*os.File{ready, r}, inherited...)
		cmd.Env = append(cmd.Env, "TABLEFLIP_HAS_PARENT_7DIU3=yes")
	})
}

func TestNewWithoutAWordFromTheOldEnds(t *testing.T) {
	newcomer(t, nil).wantNoStart("drain: ")
}

func TestNewWithASilentLink(t *testing.T) {
	eachOf(t, func(t *testing.T, stopped bool) {
		ends := have(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
		silent, far := os.NewFile(uintptr(ends[0]), "silent"), os.NewFile(uintptr(ends[1]), "far")
		defer silent.Close()
		var names bytes.Buffer
		must(t, gob.NewEncoder(&names).Encode([][]string{{"fd", "baton-link", ""}}))
		s := newcomer(t, names.Bytes(), far)
		_ = far.Close()
		s.noteSince(0, s.pgid, "begun")
		if !stopped {
			s.wantNoStart("did not say hello: nothing within 5s")
			return
		}
		s.eventually("it has the link", func() bool {
			return !slices.ContainsFunc(fds(t, s.pgid), func(fd string) bool {
				return strings.HasPrefix(fd, "5 socket:")
			})
		})
		s.signal(s.pgid, term)
		s.gone()
		s.wantExit(s.pgid, -int(term)) // by the signal, not by the limit
	}, false, true)
}

// What a shell has opened above the standard files, as in "3>file ./app", is in nobody's way, and not taken for the
// library's or a service manager's, whatever it is and however much of it.
func TestDescriptorsOfTheShell(t *testing.T) {
	each(t, map[string]func(testing.TB) *os.File{
		"a file":   func(t testing.TB) *os.File { return have(os.Open("/etc/passwd"))(t) },
		"a folder": func(t testing.TB) *os.File { return have(os.Open("/"))(t) },
		"a pipe": func(t testing.TB) *os.File {
			r, w, err := os.Pipe()
			must(t, err)
			t.Cleanup(func() { _ = w.Close() })
			return r
		},
		"a listening socket": func(t testing.TB) *os.File {
			ln := have(net.Listen("tcp", "127.0.0.1:0"))(t)
			defer ln.Close()
			return have(ln.(*net.TCPListener).File())(t)
		},
	}, func(t *testing.T, open func(testing.TB) *os.File) {
		for _, n := range []int{1, 2, 30} {
			f := open(t)
			s := start(t, plan{}, func(_ *service, cmd *exec.Cmd) { cmd.ExtraFiles = slices.Repeat([]*os.File{f}, n) })
			_ = f.Close()
			l := s.drive(2, time.Millisecond)
			s.swap()
			s.swap()
			l.end()
			s.stop()
			s.wantNothingLost()
		}
	})
}

var spoiled = []string{"clears its environment", "unsets what systemd said", "invents what systemd said"}

// What the service manager has said in the environment is taken when the program starts.
func TestAManagerHearsOfAProgramThatSpoilsItsEnvironment(t *testing.T) {
	eachOf(t, func(t *testing.T, fault string) {
		for _, keeper := range []bool{false, true} {
			n := newNotifySocket(t)
			s := start(t, plan{Fault: fault, Keeper: keeper}, n.manages, func(_ *service, cmd *exec.Cmd) {
				cmd.Env = append(cmd.Env, "WATCHDOG_USEC=20000")
			})
			n.await(0, `READY=1\n(.*\n)*.*`)
			n.await(0, "WATCHDOG=1")
			at := n.mark()
			s.swap()
			if !keeper {
				n.await(at, `MAINPID=\d+\n(.*\n)*.*`)
			}
			n.await(n.mark(), "WATCHDOG=1")
			s.stop()
			s.wantExit(s.pgid, 0)
		}
	}, spoiled...)
}

// And so are the sockets that it has passed.
func TestPassedSocketsOfAProgramThatSpoilsItsEnvironment(t *testing.T) {
	eachOf(t, func(t *testing.T, fault string) {
		d := newNotifySocket(t)
		one := start(t, plan{Fault: fault}, d.manages)
		d.wantStored(stored(one.pgid, tcpName))
		one.kill(one.pgid)
		one.gone()
		two := start(t, plan{Fault: fault}, d.manages)
		if was, is := one.address(), two.address(); was != is {
			t.Errorf("listens on %s; was on %s", is, was)
		}
		two.swap()
		two.stop()
	}, spoiled...)
}
