//go:build unix

package drain_test

import (
	"errors"
	"io/fs"
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

// order returns when notes and events happened, in ns; each must be there. They are printed by several goroutines.
func (s *service) order(match ...func(record) bool) []int64 {
	s.Helper()
	all := s.since(0)
	var at []int64
	for i, m := range match {
		n := slices.IndexFunc(all, m)
		if n < 0 {
			s.Errorf("step %d of the order is missing", i)
			continue
		}
		at = append(at, all[n].At)
	}
	return at
}

func (s *service) wantOrder(match ...func(record) bool) {
	s.Helper()
	if at := s.order(match...); !slices.IsSorted(at) {
		s.Errorf("the order is %v", at)
	}
}

func noted(gen int, note string) func(record) bool {
	return func(r record) bool { return r.Gen == gen && r.Note == note }
}

func told(gen int, msg string) func(record) bool {
	return func(r record) bool { return r.Gen == gen && r.Note == "" && r.Msg == msg }
}

func TestBackgroundWorkIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{Worker: true}, atGate("slow work"))
	s.event(1, "ready")
	s.noteSince(0, 0, "work begun")
	open := s.opener(s.plan.Gate)
	s.plan.Fault, s.plan.Gate = "", ""
	s.replan()
	s.swap()
	s.noteSince(0, s.pgid, "work told to end")
	mark := s.mark()
	s.get("/whoami")
	s.awaitOlder(1)
	s.wantNone(mark, "stopped")
	open()
	s.event(1, "stopped")
	s.wantExit(s.pgid, 0)
	s.wantOrder(told(1, "replaced"), noted(1, "work told to end"), noted(1, "work ended"), told(1, "stopped"))
	s.wantOrder(told(2, "probation"), noted(2, "work begun"))
	s.stop()
	s.wantOrder(told(2, "draining"), noted(2, "work told to end"), noted(2, "work ended"), told(2, "stopped"))
}

func TestBackgroundWorkThatDoesNotEndIsCutOff(t *testing.T) {
	t.Parallel()
	s := begin(t, plan{Worker: true, DrainTimeout: 500 * time.Millisecond}, atGate("slow work"))
	s.event(1, "ready")
	s.noteSince(0, 0, "work begun")
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantEnd(1, "DrainTimeout (500ms) is over: cut off nothing; background work: worker")
}

func TestBackgroundWorkDoesNotRunInProbation(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Worker: true})
	s.plan.Fault = "check fails"
	s.replan()
	s.signal(s.pgid, syscall.SIGHUP)
	s.event(1, "swap failed")
	s.stop()
	for _, r := range s.since(0) {
		if r.PID != s.pgid && strings.HasPrefix(r.Note, "work") {
			t.Errorf("a generation that never took over says %q", r.Note)
		}
	}
	s.wantOrder(noted(1, "work begun"), told(1, "swap failed"), noted(1, "work told to end"))
}

func TestJoinAndLeaveInOrder(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	s.noteSince(0, 0, "join")
	s.swap()
	s.swap()
	s.stop()
	s.wantOrder(told(1, "ready"), noted(1, "join"), told(3, "promoted"), told(3, "stopping"), noted(3, "leave"),
		told(3, "draining"), told(3, "stopped"))
	n := 0
	for _, r := range s.since(0) {
		if r.Note == "join" || r.Note == "leave" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d calls of Join and Leave; want one each", n)
	}
}

func TestBinaryIsFoundThroughPATH(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"absolute", "relative"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			s := start(t, plan{ChangeDir: "/"}, func(s *service, cmd *exec.Cmd) {
				cmd.Dir = filepath.Dir(s.dir)
				cmd.Path = s.binary
				cmd.Args = []string{"srv"}
				cmd.Env = append(cmd.Env, "PATH="+map[string]string{"absolute": s.dir,
					"relative": filepath.Base(s.dir)}[path]+":/usr/bin:/bin")
			})
			s.swap()
			s.swap()
			s.stop()
		})
	}
}

func TestBinaryWithARelativePathAfterChdir(t *testing.T) {
	t.Parallel()
	s := start(t, plan{ChangeDir: "/"}, func(s *service, cmd *exec.Cmd) {
		cmd.Dir = s.dir
		cmd.Path = "./srv"
		cmd.Args = []string{"./srv"}
	})
	s.swap()
	s.swap()
	s.stop()
}

func TestSymlinkFlipDeploysTheNewTarget(t *testing.T) {
	t.Parallel()
	var link string
	s := start(t, plan{}, func(s *service, cmd *exec.Cmd) {
		for _, v := range []string{"v1", "v2"} {
			if err := os.Mkdir(filepath.Join(s.dir, v), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(s.binary, filepath.Join(s.dir, v, "srv")); err != nil {
				t.Fatal(err)
			}
		}
		link = filepath.Join(s.dir, "current")
		if err := os.Symlink("v1", link); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Args = link+"/srv", []string{link + "/srv"}
	})
	want := func(pid int, version string) {
		t.Helper()
		if r := s.noteSince(0, pid, "begun "); r.Note != "begun " && !strings.HasSuffix(r.Note, version+"/srv") {
			t.Errorf("%q; want %s", r.Note, version)
		}
	}
	want(s.pgid, "v1")
	if err := os.Symlink("v2", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	want(s.swap().PID, "v2")
	want(s.swap().PID, "v2")
	s.stop()
}

func TestUnixSocketKeepsItsPathUntilTheLastStop(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "b") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sock")
	// One that a killed process has left behind is in nobody's way.
	if ln, err := net.Listen("unix", path); err != nil {
		t.Fatal(err)
	} else {
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = ln.Close()
	}
	s := start(t, plan{Network: "unix", Addr: path})
	l := s.drive(4, time.Millisecond)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s.swap()
	s.plan.Fault = "check fails"
	s.replan()
	mark := s.mark()
	s.signal(s.main().PID, syscall.SIGHUP)
	s.eventSince(mark, 2, "swap failed")
	s.plan.Fault = ""
	s.replan()
	s.swap()
	s.wantAlone(s.main().PID)
	if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
		t.Errorf("the socket's file is another: %v", err)
	}
	s.get("/whoami")
	l.end()
	s.stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the last stop: %v", err)
	}
}
