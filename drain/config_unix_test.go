//go:build unix

package drain_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServiceThatCantStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the subtests
	dir := t.TempDir()
	ours := filepath.Join(dir, "alive") // of a living process that is not the service
	if err := os.WriteFile(ours, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(dir, "readonly")
	if err := os.Mkdir(readOnly, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		readOnly = "/proc" // where root may not write either
	}
	for _, c := range []struct {
		name  string
		plan  plan
		words []string
	}{
		{name: "address in use", plan: plan{Addr: taken.Addr().String()},
			words: []string{taken.Addr().String(), "in use", "stop it"}},
		{name: "no port", plan: plan{Addr: "127.0.0.1"}, words: []string{`"127.0.0.1"`, "missing port", "want host:port"}},
		{name: "bad port", plan: plan{Addr: "127.0.0.1:70000"}, words: []string{"70000", "want host:port"}},
		{name: "not ours to have", plan: plan{Addr: "192.0.2.1:0"},
			words: []string{"192.0.2.1:0", "no interface of this machine has the address"}},
		{name: "bad network", plan: plan{Network: "tpc"}, words: []string{`"tpc"`, "want tcp, tcp4, tcp6, unix or fd"}},
		{name: "unix socket in no folder", plan: plan{Network: "unix", Addr: "/nowhere/sock"},
			words: []string{"/nowhere/sock", "create the folder"}},
		{name: "PID file in no folder", plan: plan{PIDFile: "/nowhere/pid"},
			words: []string{"Config.PIDFile", "/nowhere/pid", "name a file in a folder that exists"}},
		{name: "PID file that is a folder", plan: plan{PIDFile: dir},
			words: []string{"Config.PIDFile", dir, "not a regular file"}},
		{name: "PID file that can't be written", plan: plan{PIDFile: filepath.Join(readOnly, "pid")},
			words: []string{"Config.PIDFile", "may write"}},
		{name: "PID file of another", plan: plan{PIDFile: ours}, words: []string{"Config.PIDFile", ours,
			fmt.Sprintf("process %d", os.Getpid()), "alive and not ours", "stop it, or remove the file"}},
		{name: "PullMin beyond PullMax", plan: plan{PullMin: 2 * time.Second, PullMax: time.Second},
			words: []string{"PullMin", "PullMax"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, c.plan)
			r := s.noteSince(0, 0, "error ")
			for _, w := range c.words {
				if !strings.Contains(r.Note, w) {
					t.Errorf("%q does not say %q", r.Note, w)
				}
			}
			s.gone()
			s.wantExit(s.pgid, 1)
			if text, err := os.ReadFile(ours); c.plan.PIDFile == ours &&
				(err != nil || string(text) != fmt.Sprintln(os.Getpid())) {
				t.Errorf("the PID file of another process is %q now, %v", text, err)
			}
		})
	}
}

func TestStalePIDFileIsReplaced(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"no pid": "", "garbage": "x\n", "wraps to 1": "4294967297\n",
		"gone": "4194000\n", "negative": "-1\n", "init group": "0\n", "huge": "99999999999999999999\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pid")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := start(t, plan{PIDFile: path})
			s.wantPIDFile(s.pgid)
			s.stop()
		})
	}
}

func TestPIDFileIsNotRemovedByOthers(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	c, open := s.slow("slow")
	r := s.swap()
	s.event(1, "replaced")
	s.wantPIDFile(r.PID)
	s.finishSlow(c, open)
	_ = c.Close()
	s.wantExit(s.pgid, 0)
	s.wantPIDFile(r.PID)
	if err := os.WriteFile(s.plan.PIDFile, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.signal(r.PID, syscall.SIGTERM)
	s.gone()
	if text, err := os.ReadFile(s.plan.PIDFile); err != nil || string(text) != "1\n" {
		t.Errorf("the PID file is %q, %v; want it to be left alone", text, err)
	}
}

func TestSecondServiceIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	if got := s.do("new"); !strings.Contains(got, "a process can have one Service") {
		t.Errorf("second New: %q", got)
	}
	s.tell(s.pgid, syscall.SIGUSR1) // the handlers are the first Service's still
	s.swap()
	s.stop()
}

// A socket that is opened when the service is ready would refuse clients from the next swap on.
func TestListenWhenReadyIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, plan{Fault: "listens in Ready"})
	for range 2 {
		for _, network := range []string{"tcp", "unix", "udp", "unixgram"} {
			address := "127.0.0.1:0"
			if strings.HasPrefix(network, "unix") {
				address = filepath.Join(s.dir, network)
			}
			got := s.do("listen", "network", network, "address", address)
			for _, word := range []string{network, address, "before Run", "Config.Ready"} {
				if !strings.Contains(got, word) {
					t.Errorf("Listen %s: %q does not say %q", network, got, word)
				}
			}
			if _, err := os.Stat(address); err == nil {
				t.Errorf("%s is there", address)
			}
		}
		s.swap()
	}
	mark := s.mark()
	if err := syscall.Kill(s.main().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.gone()
	addrs := make(map[string]int) // what was opened in Config.Ready is passed on like all else
	for _, r := range s.since(0)[:mark] {
		if strings.HasPrefix(r.Note, "in Ready on ") {
			addrs[r.Note]++
		}
	}
	if len(addrs) != 1 {
		t.Errorf("%v; want one address, in 3 generations", addrs)
	}
}

func TestMethodsReturnTheReason(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	s.plan.Fault = "check fails"
	s.replan()
	if got := s.do("swap"); !strings.Contains(got, "the database is away") ||
		!strings.Contains(got, "generation 1 serves on") {
		t.Errorf("Swap: %q", got)
	}
	if st := s.status(); st.Swaps != 1 || st.LastSwap == nil ||
		!strings.Contains(st.LastSwap.Err, "the database is away") {
		t.Errorf("%+v", st)
	}
	if got := s.do("pull"); got != "" {
		t.Errorf("Pull: %q", got)
	}
	if st := s.status(); !st.Pulled || !st.Noticed || len(st.Listeners) != 1 {
		t.Errorf("%+v", st)
	}
	if got := s.do("restore"); got != "" {
		t.Errorf("Restore: %q", got)
	}
	s.plan.Fault = ""
	s.replan()
	if got := s.do("swap"); got != "" {
		t.Errorf("Swap: %q", got)
	}
	s.wantExit(s.pgid, 0)
	if st := s.status(); st.Generation != 2 {
		t.Errorf("%+v", st)
	}
	if got := s.do("stop"); got != "" {
		t.Errorf("Stop: %q", got)
	}
	s.gone()
}
