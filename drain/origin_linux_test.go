package drain_test

import (
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

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
	if r := s.failedSwap(); !strings.Contains(r.Err, "working folder "+current) {
		t.Error(r.Err)
	}
	s.stop()
}

// A process with the variables of a generation, whose link says nothing.
func TestNewWithASilentLink(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		sig  syscall.Signal
		code int
	}{{0, 1}, {syscall.SIGTERM, -15}} {
		t.Run(fmt.Sprint(x.code), func(t *testing.T) {
			ends := have(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
			silent := os.NewFile(uintptr(ends[0]), "silent")
			defer silent.Close()
			far := os.NewFile(uintptr(ends[1]), "far")
			s := begin(t, plan{}, func(s *service, cmd *exec.Cmd) {
				_, ready := s.pipe()
				names, w := s.pipe()
				must(t, gob.NewEncoder(w).Encode([][]string{{"fd", "baton-link", ""}}))
				cmd.ExtraFiles = []*os.File{ready, names, far}
				cmd.Env = append(cmd.Env, "TABLEFLIP_HAS_PARENT_7DIU3=yes")
			})
			_ = far.Close()
			s.noteSince(0, s.pgid, "begun")
			if x.sig != 0 {
				s.eventually("it has the link", func() bool {
					return !slices.ContainsFunc(fds(t, s.pgid), func(fd string) bool { return strings.HasPrefix(fd, "5 socket:") })
				})
				s.signal(s.pgid, x.sig)
			}
			s.gone()
			s.wantExit(s.pgid, x.code) // by the signal, not by the limit
			if x.sig == 0 {
				if r := s.noteSince(0, s.pgid, "error "); !strings.Contains(r.Note, "did not say hello: nothing within 5s") {
					t.Error(r)
				}
			}
		})
	}
}
