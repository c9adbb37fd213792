package drain_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nor is what has come to its place since.
func TestPIDFileThatBecomesNone(t *testing.T) {
	s := start(t, plan{})
	must(t, errors.Join(os.Remove(s.plan.PIDFile), syscall.Mkfifo(s.plan.PIDFile, 0o600)))
	mark := s.mark()
	s.signal(s.pgid, syscall.SIGHUP)
	s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), "Config.PIDFile", "not a regular file")
	s.signal(s.pgid, syscall.SIGTERM)
	s.wantExit(s.pgid, 0)
	if info, err := os.Lstat(s.plan.PIDFile); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("%v, %v; want it to be left alone", info, err)
	}
}

// A folder that has become read-only makes a swap fail, at whichever step it is found, and a stop say so.
func TestPIDFileInAReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	mountTiny(t, dir)
	readOnly := func(flag uintptr) {
		t.Helper()
		must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|flag, ""))
	}
	s := start(t, plan{PIDFile: filepath.Join(dir, "pid")})
	for _, at := range []string{"before New", "in Ready"} {
		mark := s.mark()
		open := s.beginSwap(at)
		readOnly(unix.MS_RDONLY)
		open()
		s.wantWords(errors.New(s.eventSince(mark, 1, "swap failed").Err), "Config.PIDFile", s.plan.PIDFile,
			"read-only", "write")
		s.wantAlone(s.pgid)
		s.wantPIDFile(s.pgid)
		readOnly(0)
	}
	two := s.swap()
	s.event(1, "replaced") // and holds no file there
	s.wantPIDFile(two.PID)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
	readOnly(unix.MS_RDONLY)
	s.signal(two.PID, syscall.SIGTERM)
	if r := s.event(2, "PID file"); r.Err == "" {
		t.Error(r)
	} else {
		s.wantWords(errors.New(r.Err), "Config.PIDFile", "stays behind", s.plan.PIDFile)
	}
	s.wantExit(two.PID, 0)
}

// What a PID file has that names no living service is in nobody's way: the number may be another program's, or another
// service's of the same program, which this test seems to be.
func TestStalePIDFileIsReplaced(t *testing.T) {
	other := start(t, plan{})
	t.Cleanup(func() { other.wantPIDFile(other.pgid) })
	stale := map[string]string{"no pid": "", "garbage": "x\n", "wraps to 1": "4294967297\n", "gone": "4194000\n",
		"negative": "-1\n", "init group": "0\n", "huge": "99999999999999999999\n", "init": "1\n", "no newline": "1",
		"this program's": fmt.Sprintln(os.Getpid()), "another program's": fmt.Sprintln(os.Getppid()),
		"another service's": fmt.Sprintln(other.pgid)}
	// In a container the threads of PID 1 have the numbers that the processes before a restart had.
	if threads, err := os.ReadDir("/proc/self/task"); err == nil && len(threads) > 1 {
		stale["thread"] = threads[len(threads)-1].Name() + "\n"
	}
	each(t, stale, func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "pid")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		s := start(t, plan{PIDFile: path})
		s.wantPIDFile(s.pgid)
		s.stop()
	})
}

// The main generation holds its PID file, by whatever swap it has come to be that, and nobody does when it is dead.
func TestPIDFileIsHeldByTheMainGeneration(t *testing.T) {
	s := start(t, plan{})
	for _, file := range []string{s.plan.PIDFile, s.plan.PIDFile + " of the new version"} {
		s.plan.PIDFile = file
		s.replan()
		s.swap()
		begin(t, plan{PIDFile: file}).wantNoStart("Config.PIDFile", "alive and not ours")
	}
	s.kill(s.main().PID)
	next := start(t, plan{PIDFile: s.plan.PIDFile})
	next.wantPIDFile(next.pgid)
	next.stop()
}

// A relative path is in the folder of the start, by the name of that, wherever the program works.
func TestRelativePathsAreOfTheStart(t *testing.T) {
	releases := t.TempDir()
	must(t, errors.Join(os.Mkdir(filepath.Join(releases, "1"), 0o700), os.Mkdir(filepath.Join(releases, "2"), 0o700)))
	current := filepath.Join(releases, "current")
	at := func(name string) string { return filepath.Join(current, name) }
	must(t, os.Symlink("1", current))
	s := start(t, plan{PIDFile: "pid", Control: "control", ChangeDir: "/", Also: [][2]string{{"unix", "socket"}}},
		func(_ *service, cmd *exec.Cmd) { cmd.Dir, cmd.Env = current, append(cmd.Env, "PWD="+current) })
	s.plan.PIDFile, s.plan.Control = at("pid"), at("control")
	s.wantPIDFile(s.pgid)
	must(t, have(net.Dial("unix", at("socket")))(t).Close())
	s.swap()
	must(t, have(net.Dial("unix", at("socket")))(t).Close())
	must(t, errors.Join(os.Remove(current), os.Symlink("2", current)))
	s.wantPIDFile(s.swap().PID)
	s.mustControl("stop")
	s.gone()
	if left, _ := filepath.Glob(filepath.Join(current, "*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestPIDFileIsNotRemovedByOthers(t *testing.T) {
	s := start(t, plan{})
	c, open := s.slow("slow")
	r := s.swap()
	s.event(1, "replaced")
	s.wantPIDFile(r.PID)
	s.finishSlow(c, open)
	_ = c.Close()
	s.wantExit(s.pgid, 0)
	s.wantPIDFile(r.PID)
	must(t, os.WriteFile(s.plan.PIDFile, []byte("1\n"), 0o644))
	s.signal(r.PID, syscall.SIGTERM)
	s.gone()
	if text, err := os.ReadFile(s.plan.PIDFile); err != nil || string(text) != "1\n" {
		t.Errorf("the PID file is %q, %v; want it to be left alone", text, err)
	}
}

// A process that was replaced is gone before the longest time for which it may linger, where the machine is quick.
func TestReplacedProcessGoesSoon(t *testing.T) {
	s := start(t, plan{})
	for swap := 1; ; swap++ {
		s.swap()
		since := s.event(swap, "replaced").At
		stayed := time.Duration(s.event(swap, "stopped").At - since)
		t.Logf("generation %d stayed for %v", swap, stayed)
		if stayed < 200*time.Millisecond { // a start takes longer only where others have the processor
			break
		}
		if swap == 150 {
			t.Fatal("none of 150 was gone within 200 ms")
		}
	}
	s.stop()
}
