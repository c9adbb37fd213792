package drain_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain"
)

// family is every process that comes from the service, whatever session or group it has made for itself: each has the
// variable by which the test binary is a service.
func (s *service) family() (all []int) {
	s.Helper()
	for _, pid := range pids() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // of a zombie it is empty
		if err == nil && bytes.Contains(env, []byte(planEnv+"="+s.planned+"\x00")) {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all
}

// wantFamily wants these processes of the service to be left, soon.
func (s *service) wantFamily(want ...int) {
	s.Helper()
	for timeout := time.After(hung / 4); ; {
		got := s.family()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-timeout:
			out, _ := exec.Command("ps", "-o", "pid,ppid,pgid,sid,args", "-p",
				strings.Trim(fmt.Sprint(got), "[]")).CombinedOutput()
			s.Errorf("processes %v are left; want %v\n%s", got, want, out)
			for _, pid := range got {
				if !slices.Contains(want, pid) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// script is a program that has the whole binary as $real, and says as which process it has begun.
func (s *service) script(text string) func(string) error {
	return write(fmt.Sprintf("#!/bin/sh\nreal=%s.real\n%s\n", s.binary, text), 0o755)
}

// installReal puts the whole binary where a script finds it.
func (s *service) installReal() {
	s.Helper()
	self, err := os.Executable()
	if err == nil {
		err = linkOrCopy(self, s.binary+".real")
	}
	must(s, err)
}

// Whatever the new program does, but to serve: the swap fails with a reason, nothing of it is left, and
// nothing is lost.
func TestSwapToABadProgramFailsAndLeavesNothing(t *testing.T) {
	type row struct{ reason, text, fault string }
	each(t, map[string]row{
		"ends well at once": {reason: "exited", text: "exit 0"},
		"leaves a child":    {reason: "exited", text: "sleep 1000 & exit 0"},
		"leaves a child that ignores signals": {reason: "exit status 4",
			text: "(trap '' TERM HUP INT; sleep 1000; sleep 1000) & exit 4"},
		"leaves a daemon": {reason: "exited", text: "setsid sh -c 'sleep 1000; sleep 1000' & exit 0"},
		"leaves a daemon of a daemon": {reason: "exited",
			text: "(setsid sh -c 'setsid sh -c \"sleep 1000; sleep 1000\" & exit 0' &); sleep 0.2; exit 0"},
		"is a daemon":                      {reason: "exited", text: "setsid $real </proc/$$/fd/0 & exit 0"},
		"never calls drain":                {reason: "not ready within", text: "sleep 1000"},
		"never calls drain, with a daemon": {reason: "not ready within", text: "setsid sleep 1000 & sleep 1000"},
		"says it is ready and dies":        {reason: "exited", text: `printf '*' >&3; exit 0`},
		"says something else":              {reason: "exited", text: `printf 'x*' >&3; exit 0`},
		"closes everything": {reason: "exited",
			text: "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec /bin/sleep 0.2"},
		"is loud":                     {reason: "exited", text: "head -c 64000000 /dev/zero >&2; exit 0"},
		"a wrapper of one that fails": {reason: "the cache is cold", text: "$real", fault: "ready fails"},
		"a wrapper of one that crashes": {reason: "exit status 3", text: "$real; exit $?",
			fault: "crash in probation"},
		"a wrapper that forgets to end": {reason: "the cache is cold", text: "$real; sleep 1000",
			fault: "ready fails"},
		"a wrapper of one that hangs": {reason: "not ready within", text: "$real </proc/$$/fd/0 & wait",
			fault: "hang at start"},
	}, func(t *testing.T, c row) {
		s := start(t, plan{SwapTimeout: 4 * time.Second}, unheard)
		s.installReal()
		l := s.drive(2, 4*time.Millisecond)
		s.wantFailure(l, c.reason, func() {
			s.replace(s.script(c.text))
			s.plan.Fault, s.plan.SwapTimeout = c.fault, 0
			s.replan()
		})
		s.wantFamily(s.pgid)
		s.nextHas("")
		s.install()
		s.swap()
		l.end()
		s.stop()
		s.wantFamily()
		s.wantNothingLost()
	})
}

// unheard drops what the service says on standard error.
func unheard(s *service, cmd *exec.Cmd) {
	r, w := s.pipe()
	go func() { _, _ = io.Copy(io.Discard, r); _ = r.Close() }()
	s.Cleanup(func() { _ = w.Close() })
	cmd.Stderr = w
}

// A file that somebody writes still.
func TestSwapToABusyFileFailsAndLosesNothing(t *testing.T) {
	s := start(t, plan{})
	l := s.drive(2, 4*time.Millisecond)
	self := have(os.ReadFile(s.binary))(t)
	var busy *os.File
	s.wantFailure(l, "text file busy", func() {
		s.replace(func(path string) (err error) {
			if busy, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755); err == nil {
				_, err = busy.Write(self)
			}
			return err
		})
	})
	_ = busy.Close()
	s.awaitUnwritten(s.binary)
	s.swap()
	l.end()
	s.stop()
}

// awaitUnwritten waits until no process has the file open to write it. One that another test is about to start has the
// descriptors of this one until it becomes its program.
func (s *service) awaitUnwritten(path string) {
	s.Helper()
	f := have(os.Open(path))(s)
	defer f.Close()
	for { // there is no read lease on a file that is open for writing, see F_SETLEASE in fcntl(2)
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EAGAIN) {
			s.Fatal(err)
		}
		<-time.After(time.Millisecond)
	}
}

// Wrappers of good programs work, whether they become the program or wait for it.
func TestSwapThroughAWrapper(t *testing.T) {
	eachOf(t, func(t *testing.T, text string) {
		s := start(t, plan{}, withControl)
		s.installReal()
		l := s.drive(2, 4*time.Millisecond)
		s.replace(s.script(text))
		for gen := 2; gen <= 4; gen++ {
			s.signal(s.main().PID, syscall.SIGHUP)
			s.event(gen, "promoted")
			s.event(gen, "older generation is gone")
		}
		_ = os.Remove(s.binary) // some wait for that, and leave the program alone
		l.end()
		if st := s.mustControl("status"); st.Generation != 4 || st.Phase != drain.Ready {
			t.Errorf("%+v", st)
		}
		if text == "exec $real" {
			s.wantFamily(s.main().PID)
		}
		s.mustControl("stop")
		s.wantFamily()
		s.wantNothingLost()
	}, "exec $real", "$real", "$real </proc/$$/fd/0 & wait", "cd /; $real; exit $?",
		"setsid $real </proc/$$/fd/0 & while [ -e $0 ]; do sleep 0.01; done")
}
