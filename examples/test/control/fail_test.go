//go:build unix

package control

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestStartFails(t *testing.T) {
	t.Parallel()
	t.Run("port in use", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		ln, err := net.Listen("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s.want(1, "address already in use", "start")
		s.want(3, "not running", "status")
	})
	t.Run("port in use by another of the same", func(t *testing.T) {
		t.Parallel()
		other, s := newSite(t), newSite(t)
		s.addr = other.addr
		other.want(0, "started", "start")
		s.want(1, "address already in use", "start")
		s.want(3, "not running", "status")
		other.want(0, "running", "status")
	})
	t.Run("exits", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.deploy(build(t, "gin", "v1", "crash"))
		s.want(1, "exited with code 3", "start")
		s.want(3, "not running", "status")
	})
	t.Run("never ready", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.deploy(build(t, "gin", "v1", "hang"))
		s.want(150, "was told to stop", "start", "START_TIMEOUT=1")
		s.want(3, "not running", "status")
	})
	t.Run("wrong flag", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, "-probation", "-5s")
		s.want(1, "-probation", "start")
	})
	t.Run("nothing to run", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		if err := os.Chmod(s.setting("BIN"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.want(5, "set BIN", "start")
		if err := os.Remove(s.setting("BIN")); err != nil {
			t.Fatal(err)
		}
		s.want(5, "set BIN", "start")
	})
	t.Run("no log", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.want(6, "set LOG", "start", "LOG="+filepath.Join(t.TempDir(), "missing", "log"))
	})
}

func TestPIDFileOfAnother(t *testing.T) {
	t.Parallel()
	write := func(s *site, text string) {
		s.t.Helper()
		if err := os.WriteFile(s.setting("PIDFILE"), []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	t.Run("dead", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		gone := exec.Command("true")
		if err := gone.Run(); err != nil {
			t.Fatal(err)
		}
		write(s, strconv.Itoa(gone.Process.Pid)+"\n")
		s.want(1, "there is a PID file", "status")
		s.want(7, "not running", "reload")
		s.want(0, "not running", "stop")
		s.want(0, "left over", "start")
		s.serves(s.pid(), "v1", 200)
		s.want(0, "stopped", "stop")
	})
	t.Run("nonsense", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"", "\n", "0\n", "-1\n", "1 2\n", "pid\n"} {
			s := newSite(t)
			write(s, text)
			s.want(1, "there is a PID file", "status")
			s.want(0, "not running", "stop")
			s.want(7, "not running", "pull")
		}
	})
	for _, system := range []struct{ name, proc string }{{"stranger", "/proc"}, {"stranger no-proc", "/nonexistent"}} {
		t.Run(system.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			tool(t, "ps")
			s.env = append(s.env, "PROC="+system.proc)
			// Any signal of the script's would end it.
			stranger := exec.Command("sleep", "600")
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			write(s, strconv.Itoa(stranger.Process.Pid)+"\n")
			s.want(1, "there is a PID file", "status")
			for _, verb := range []string{"start", "stop", "restart", "reload", "pull", "restore"} {
				s.want(152, "sleep", verb)
			}
			if !alive(stranger.Process.Pid) {
				t.Error("a process that is not ours was signalled")
			}
			_ = stranger.Process.Kill()
			_ = stranger.Wait()
		})
	}
}

func TestReloadFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name   string
		deploy func(t *testing.T, s *site)
		reason string
	}{
		{"crash", faulty("crash"), "exit status 3"},
		{"probation", faulty("probation"), "exit status 3"},
		{"hang", faulty("hang"), "not ready within"},
		{"check", faulty("check"), "main.fault=check"},
		{"missing", func(t *testing.T, s *site) {
			if err := os.Remove(s.setting("BIN")); err != nil {
				t.Fatal(err)
			}
		}, "missing"},
		{"not executable", func(t *testing.T, s *site) {
			if err := os.Chmod(s.setting("BIN"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "not executable"},
		{"no program", func(t *testing.T, s *site) {
			text := filepath.Join(t.TempDir(), "text")
			if err := os.WriteFile(text, []byte("\"quoted\" <text>\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			s.deploy(text)
		}, "exec format error"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "-probation", "400ms", "-swap-timeout", "4s")
			s.want(0, "started", "start")
			pid := s.pid()
			fault.deploy(t, s)
			code := 1
			if fault.name == "not executable" {
				code, fault.reason = 153, "denied" // the running one is what asks, and is that file
			}
			for range 2 {
				s.want(code, fault.reason, "reload")
				s.serves(pid, "v1", 200)
			}
			// What has failed does not stand in the way of the next.
			s.deploy(build(t, "gin", "v2", ""))
			s.want(0, "generation", "reload")
			s.serves(s.pid(), "v2", 200)
			s.want(0, "stopped", "stop")
		})
	}
}

func faulty(fault string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) { s.deploy(build(t, "gin", "v2", fault)) }
}
