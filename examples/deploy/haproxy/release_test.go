//go:build linux

package haproxy

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

func TestRestart(t *testing.T) {
	t.Parallel()
	for _, inter := range []int{1, 5} {
		t.Run(fmt.Sprintf("inter %ds", inter), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shipped(t, "haproxy.cfg"), fmt.Sprintf("%ds", inter))
			load := flow.NewLoad(t, s.Addr, 6, 3)
			begun := time.Now()
			s.release(0, "complete", "upgrade "+flow.Build(t, "nethttp", "v2", ""))
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
	s.release(0, "complete", "upgrade "+flow.Build(t, "nethttp", "v2", ""), "METHOD=swap")
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

// TestBrokenVersion: it costs nothing, since the node gets its old version back.
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
			s.release(1, "reload failed", "upgrade "+build, "METHOD=swap")
			s.release(0, "rolled back", "rollback")
			if s.a.PID() != a || s.b.PID() != b || s.server("a")["status"] != "UP" {
				t.Fatal("a reload that failed has changed something")
			}
			s.release(1, broken.words, "upgrade "+build, broken.env...)
			if s.b.PID() != b {
				t.Error("b, which is what the site lives on, has been touched")
			}
			runs(t, s.a, "v1")
			s.is("a", "UP")
			load.Reaches(s.a.PID(), 20)
			s.release(7, "continue or rollback", "upgrade "+build)
			s.release(0, "rolled back", "rollback")
			s.release(0, "complete", "upgrade "+flow.Build(t, "nethttp", "v2", ""))
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
	upgrade := "upgrade " + flow.Build(t, "nethttp", "v2", "")
	begun := time.Now()
	for _, moment := range []struct {
		what string
		is   func() bool
	}{
		{"a is pulled", func() bool { return s.a.PID() > 0 && s.a.Whoami().Phase == "pulled" }},
		{"a is gone", func() bool { return s.a.PID() == 0 }},
		{"a is back, but not in HAProxy", func() bool { return s.a.PID() > 0 && s.server("a")["status"] != "UP" }},
	} {
		for tries := 1; !s.killedWhen(t, moment.is, upgrade); tries++ {
			if tries == 10 {
				t.Fatalf("release.sh has ended ten times, and this was not seen: %s", moment.what)
			}
		}
		t.Logf("killed when %s", moment.what)
	}
	s.release(0, "complete", "continue")
	took := time.Since(begun)
	for _, n := range []*flow.Node{s.a, s.b} {
		load.Reaches(n.PID(), 20)
		runs(t, n, "v2")
	}
	load.Report("HAProxy", "restart of both, its script killed three times on the way", took)
}

// killedWhen upgrades, or goes on with that, and kills the script at a moment. It returns false when nobody
// has looked at that moment, which may be short: the script has ended then.
func (s *site) killedWhen(t *testing.T, is func() bool, upgrade string) bool {
	t.Helper()
	if _, code := flow.Run(t, s.command("status")); code == 1 {
		upgrade = "continue"
	}
	cmd := s.command(upgrade)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // and with it control.sh, but not the service
	p := flow.Start(t, cmd)
	for !is() {
		select {
		case <-p.Ended():
			if !cmd.ProcessState.Success() {
				t.Fatalf("release.sh: %v\n%s", cmd.ProcessState, p.Output())
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-p.Ended()
	return true
}

// TestCutOff: what a stop has to cut off is gone, and no reason to give up.
func TestCutOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s", "-drain-timeout", "1s")
	conn, err := net.Dial("tcp", s.a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\nbat")
	flow.Eventually(t, "the request is in flight", func() bool { return s.a.Status().Open.Active > 0 })
	said := s.release(8, "cut off 1 active", "upgrade "+flow.Build(t, "nethttp", "v2", ""))
	if !strings.Contains(said, "complete") || !strings.Contains(said, "at a") {
		t.Errorf("it says %q, want that it is complete, and where something was cut off", said)
	}
	runs(t, s.a, "v2")
	runs(t, s.b, "v2")
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, shipped(t, "haproxy.cfg"), "1s")
	upgrade := "upgrade " + flow.Build(t, "nethttp", "v2", "")
	pids := [2]int{s.a.PID(), s.b.PID()}
	s.release(2, "want upgrade FILE", "upgrade")
	s.release(2, "name the new binary", "upgrade "+s.dir+"/missing")
	s.release(6, "knows no server app/c", upgrade, "NODES=a c")
	s.release(6, "knows no server app2/a", upgrade, "BACKEND=app2")
	s.release(6, "no HAProxy answers at "+s.dir+"/none", upgrade, "HAPROXY="+s.stats+" "+s.dir+"/none")
	s.release(6, "nothing but 100", upgrade, "WEIGHT=50")
	s.release(6, "want yes or no", upgrade, "DRAIN=true")
	s.release(6, "level admin", upgrade, "DRAIN=yes")
	if pids != [2]int{s.a.PID(), s.b.PID()} {
		t.Error("a wrong use has changed something")
	}
}
