//go:build unix

package drain_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// wantFailure makes a swap fail and wants one event with the reason, and nothing else to have happened.
func (s *service) wantFailure(l *load, reason string, provoke func()) {
	s.Helper()
	mark, before := s.mark(), s.main()
	provoke()
	s.signal(before.PID, syscall.SIGHUP)
	s.wantFailed(l, mark, before, reason)
}

// wantFailed wants a swap to fail that was begun after mark.
func (s *service) wantFailed(l *load, mark int, before record, reason string) {
	s.Helper()
	r := s.eventSince(mark, before.Gen, "swap failed")
	if !strings.Contains(r.Err, reason) {
		s.Errorf("the reason is %q; want it to say %q", r.Err, reason)
	}
	if r.Phase != drain.Ready && r.Phase != drain.Pulled {
		s.Errorf("phase is %s", r.Phase)
	}
	l.settle()
	s.wantAlone(before.PID)
	s.wantPIDFile(before.PID)
	if a := s.get("/whoami"); a.pid != before.PID {
		s.Errorf("pid %d answers; want %d", a.pid, before.PID)
	}
	n := 0
	for _, r := range s.since(mark) {
		if r.Msg == "swap failed" {
			n++
		}
	}
	if n != 1 {
		s.Errorf("%d failed swaps are told of; want one", n)
	}
}

func write(text string, mode os.FileMode) func(string) error {
	return func(path string) error {
		if err := writeProgram(path, []byte(text), mode); err != nil {
			return err
		}
		return os.Chmod(path, mode) // whatever the umask is
	}
}

// foreign is the beginning of a program for another kind of machine.
func foreign(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := os.Open(self)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4096)
	if _, err := io.ReadFull(f, head); err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte("\x7fELF")) {
		head[18], head[19] = 0x2a, 0x2a // e_machine
	} else {
		clear(head[:16])
	}
	return writeProgram(path, head, 0o755)
}

func TestSwapToABadFileFailsAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	l := s.drive(4, 4*time.Millisecond)
	for _, c := range []struct {
		name, reason string
		create       func(path string) error
		root         bool // only root is that careful
	}{
		{name: "missing", reason: "is missing; put the new binary there"},
		{name: "not executable", reason: "is not executable by this user (-rw-r--r--); chmod +x it",
			create: write("#!/bin/sh\n", 0o644)},
		{name: "empty", reason: "is empty; copy beside it and rename",
			create: write("", 0o755)},
		{name: "text", reason: "is no program for this machine",
			create: write("not a program\n", 0o755)},
		{name: "for another machine", reason: "is no program for this machine",
			create: foreign},
		{name: "interpreter is missing", reason: "no such file",
			create: write("#!/nowhere/sh\n", 0o755)},
		{name: "directory", reason: "is not a regular file (drwx",
			create: func(path string) error { return os.Mkdir(path, 0o755) }},
		{name: "world-writable",
			reason: "may be written by everybody (-rwxrwxrwx), and this process is root; chmod o-w it",
			create: write("#!/bin/sh\n", 0o777), root: true},
		{name: "another program that ends", reason: "exited",
			create: write("#!/bin/sh\nexit 0\n", 0o755)},
		{name: "another program that fails", reason: "exit status 7",
			create: write("#!/bin/sh\nexit 7\n", 0o755)},
		{name: "a dangling symlink", reason: "is missing",
			create: func(path string) error { return os.Symlink("/nowhere/app", path) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("not root")
			}
			s := s.in(t)
			s.wantFailure(l, c.reason, func() {
				_ = os.Remove(s.binary)
				if c.create != nil {
					s.replace(c.create)
				}
			})
			s.install()
			s.swap()
		})
	}
	s.swap()
	l.end()
	s.stop()
}

func TestSwapToABadVersionFailsAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{})
	l := s.drive(4, 4*time.Millisecond)
	taken := have(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	good := s.plan
	for _, c := range []struct {
		name, reason string
		plan         plan
	}{
		{"ends Ready's goroutine", "Config.Ready: it did not return", plan{Fault: "Goexit in Ready"}},
		{"ends Check's goroutine", "Config.Check: it did not return", plan{Fault: "Goexit in Check"}},
		{"crashes at once", "exit status 3", plan{Fault: "crash at start"}},
		{"crashes in probation", "exit status 3", plan{Fault: "crash in probation"}},
		{"panics in probation", "exit status 2", plan{Fault: "panic in probation"}},
		{"fails to get ready", "Config.Ready: the cache is cold", plan{Fault: "ready fails"}},
		{"fails the check", "self-check: Config.Check: the database is away", plan{Fault: "check fails"}},
		{"listens where another does", taken.Addr().String(), plan{Extra: taken.Addr().String()}},
		{"bad configuration", "Config.DrainTimeout", plan{DrainTimeout: -1}},
		{"bad pull limits", "PullMax", plan{PullMin: 2 * time.Minute}},
		{"PID file elsewhere", "/nowhere", plan{PIDFile: "/nowhere/pid"}},
		{"preflight hook", "Config.Preflight: the new binary says no", plan{Fault: "preflight fails"}},
		{"preflight panics", "Config.Preflight: panic: a bug in the hook", plan{Fault: "panic in Preflight"}},
		{"preflight ends its goroutine", "Config.Preflight: it did not return", plan{Fault: "Goexit in Preflight"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.wantFailure(l, c.reason, func() {
				s.plan.Fault, s.plan.Extra = c.plan.Fault, c.plan.Extra
				s.plan.DrainTimeout, s.plan.PullMin = c.plan.DrainTimeout, c.plan.PullMin
				s.plan.PIDFile = or(c.plan.PIDFile, good.PIDFile)
				s.replan()
				s.plan = good
			})
			s.replan()
			s.swap()
		})
	}
	s.swap()
	l.end()
	s.stop()
}

func TestSwapToAVersionThatHangsFailsAndLosesNothing(t *testing.T) {
	eachOf(t, func(t *testing.T, fault string) {
		s := start(t, plan{SwapTimeout: 4 * time.Second})
		l := s.drive(4, 4*time.Millisecond)
		s.wantFailure(l, "not ready within SwapTimeout (4s)", func() {
			s.nextHas(fault)
		})
		s.plan.Fault, s.plan.SwapTimeout = "", 0
		s.replan()
		s.swap()
		s.swap()
		l.end()
		s.stop()
	}, "hang at start", "hang in Ready")
}

func TestSwapWhoseNewProcessIsKilledFailsAndLosesNothing(t *testing.T) {
	s := start(t, plan{})
	l := s.drive(4, 4*time.Millisecond)
	s.plan.Probation = 50 * time.Second
	s.replan()
	s.wantFailureInProbation(l, "signal: killed", func(child record) { s.signal(child.PID, syscall.SIGKILL) })
	s.wantFailureInProbation(l, "stopped before it was ready", func(child record) {
		s.signal(child.PID, syscall.SIGTERM)
	})
	s.plan.Probation = time.Nanosecond
	s.replan()
	s.swap()
	s.swap()
	l.end()
	s.stop()
}

// wantFailureInProbation does something to a generation in probation that must make the swap fail.
func (s *service) wantFailureInProbation(l *load, reason string, provoke func(child record)) {
	s.Helper()
	mark, before := s.mark(), s.main()
	s.signal(before.PID, syscall.SIGHUP)
	provoke(s.eventSince(mark, before.Gen+1, "probation"))
	s.wantFailed(l, mark, before, reason)
}

func TestSwapWithoutDescriptorsFailsAndLosesNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("the limit is set by way of /proc")
	}
	s := start(t, plan{})
	l := s.drive(4, 4*time.Millisecond)
	failed := 0
	for spare := range 32 {
		before := s.main()
		s.wantAlone(before.PID) // nothing closes descriptors any more
		mark, c := s.mark(), s.connect()
		if a, err := c.ask("POST", fmt.Sprintf("/do?it=starve&spare=%d", spare), ""); err != nil || a.status != 200 {
			t.Fatal(a, err)
		}
		s.signal(before.PID, syscall.SIGHUP)
		r := s.await(mark, "the end of a swap", func(r record) bool {
			return r.Msg == "swap failed" || r.Msg == "promoted"
		})
		_ = c.Close()
		if r.Msg == "promoted" {
			break // so many are enough
		}
		failed++
		s.wantFailed(l, mark, before, "too many open files; raise the limit of this process (LimitNOFILE=, ulimit -n)")
		s.swap()
	}
	if failed == 0 {
		t.Error("no swap failed")
	}
	l.end()
	s.stop()
}
