//go:build linux

package haproxy

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestScriptIsClean(t *testing.T) {
	for _, check := range [][]string{{"dash", "-n"}, {"shellcheck"}} {
		out, err := exec.Command(flow.Tool(t, check[0], "apt-get install "+check[0]),
			append(check[1:], "rolling.sh")...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", check, err, out)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	for _, inter := range []int{1, 5} {
		t.Run(fmt.Sprintf("inter %ds", inter), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shipped(t, "haproxy.cfg"), fmt.Sprintf("%ds", inter))
			load := flow.NewLoad(t, s.Addr, 6, 3)
			begun := time.Now()
			s.rolling(0, "b is done", "restart a b", flow.Build(t, "nethttp", "v2", ""))
			took := time.Since(begun)
			for _, n := range []*flow.Node{s.a, s.b} {
				load.Reaches(n.PID(), 20)
				runs(t, n, "v2")
			}
			load.End()
			for _, name := range []string{"a", "b"} {
				st := s.server(name)
				t.Logf("%s: %s connections, %s requests on kept ones", name, st["connect"], st["reuse"])
				if st["reuse"] == "0" {
					t.Errorf("%s: no request on a kept connection: the test shows less than it says", name)
				}
			}
			load.Report("HAProxy", fmt.Sprintf("restart of both nodes, `inter %ds`", inter), took)
		})
	}
}

// TestReload: nobody notices, HAProxy neither.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s")
	load := flow.NewLoad(t, s.Addr, 6, 3)
	pids := []int{s.a.PID(), s.b.PID()}
	begun := time.Now()
	s.rolling(0, "b is done", "reload a b", flow.Build(t, "nethttp", "v2", ""))
	took := time.Since(begun)
	for i, n := range []*flow.Node{s.a, s.b} {
		if n.PID() == pids[i] {
			t.Errorf("%s: the same process", n.Addr)
		}
		load.Reaches(n.PID(), 20)
		runs(t, n, "v2")
	}
	if load.End().Reconnects() > 0 {
		t.Errorf("%d clients have lost their connection", load.Reconnects())
	}
	for _, name := range []string{"a", "b"} {
		st := s.server(name)
		for _, count := range []string{"econ", "eresp", "wretr", "wredis", "chkfail", "chkdown", "srv_abrt"} {
			if st[count] != "0" {
				t.Errorf("%s: HAProxy counts %s %s", name, st[count], count)
			}
		}
	}
	load.Report("HAProxy", "swap of both nodes in place", took)
}

// TestBrokenVersion: it costs one node, and the next run repairs that.
func TestBrokenVersion(t *testing.T) {
	t.Parallel()
	for _, broken := range []struct {
		fault, words string
		env          []string
	}{
		{"crash", "exited with code 3", nil},
		{"hang", "not ready", []string{"START_TIMEOUT=2"}},
	} {
		t.Run(broken.fault, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shipped(t, "haproxy.cfg"), "1s", "-swap-timeout", "3s")
			load := flow.NewLoad(t, s.Addr, 6, 3)
			a, b := s.a.PID(), s.b.PID()
			build := flow.Build(t, "nethttp", "v2", broken.fault)

			begun := time.Now()
			s.rolling(1, "a: reload failed", "reload a b", build)
			if s.a.PID() != a || s.b.PID() != b || s.server("a")["status"] != "UP" {
				t.Fatal("a reload that failed has changed something")
			}
			s.rolling(1, broken.words, "restart a b", build, broken.env...)
			if s.b.PID() != b {
				t.Error("b, which is what the site lives on, has been touched")
			}
			s.is("a", "DOWN")
			load.Reaches(b, 100)
			// Not b, as long as a is down; with a good version a is the first, wherever it stands.
			s.rolling(150, "a DOWN", "restart b", build, "UP_TIMEOUT=1")
			s.rolling(0, "b is done", "restart b a", flow.Build(t, "nethttp", "v2", ""))
			took := time.Since(begun)
			for _, n := range []*flow.Node{s.a, s.b} {
				load.Reaches(n.PID(), 20)
				runs(t, n, "v2")
			}
			load.Report("HAProxy", "a version that fails ("+broken.fault+"), then one that doesn't", took)
		})
	}
}

// TestInterrupted: killed at any moment, it leaves what the next run repairs.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s")
	load := flow.NewLoad(t, s.Addr, 6, 3)
	v2 := flow.Build(t, "nethttp", "v2", "")
	begun := time.Now()
	for _, moment := range []struct {
		what string
		is   func() bool
	}{
		{"a is pulled", func() bool { return s.a.PID() > 0 && s.a.Whoami().Phase == "pulled" }},
		{"a is gone", func() bool { return s.a.PID() == 0 }},
		{"a is back, but not in HAProxy", func() bool { return s.a.PID() > 0 && s.server("a")["status"] != "UP" }},
	} {
		for tries := 1; !s.killedWhen(t, moment.is, v2); tries++ {
			if tries == 10 {
				t.Fatalf("rolling.sh has ended ten times, and this was not seen: %s", moment.what)
			}
		}
		t.Logf("killed when %s", moment.what)
	}
	s.rolling(0, "b is done", "restart a b", v2)
	took := time.Since(begun)
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
		runs(t, n, "v2")
	}
	load.Report("HAProxy", "restart of both, its script killed three times on the way", took)
}

// killedWhen runs rolling.sh and kills it at a moment. It returns false when nobody has looked at that
// moment, which may be short: the script has ended then.
func (s *site) killedWhen(t *testing.T, is func() bool, build string) bool {
	t.Helper()
	cmd := s.command(build, []string{"restart", "a", "b"})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // and with it control.sh, but not the service
	p := flow.Start(t, cmd)
	for !is() {
		select {
		case <-p.Ended():
			if !cmd.ProcessState.Success() {
				t.Fatalf("rolling.sh: %v\n%s", cmd.ProcessState, p.Output())
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-p.Ended()
	return true
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s")
	v2 := flow.Build(t, "nethttp", "v2", "")
	pids := [2]int{s.a.PID(), s.b.PID()}
	s.rolling(2, "restart or reload", "", v2)
	s.rolling(2, "which nodes", "restart", v2)
	s.rolling(5, "set NEW", "restart a", s.dir+"/missing")
	s.rolling(6, "nodes/c cannot be read", "restart a c", v2)
	s.rolling(6, "knows no server app2/a", "restart a", v2, "BACKEND=app2")
	s.rolling(6, "or does not answer", "restart a", v2, "HAPROXY="+s.stats+" "+s.dir+"/none")
	if pids != [2]int{s.a.PID(), s.b.PID()} {
		t.Error("a wrong use has changed something")
	}
}
