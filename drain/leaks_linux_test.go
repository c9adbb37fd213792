package drain_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fds is what the descriptors of a process are.
func fds(t testing.TB, pid int) (all []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

// fewFDs waits until a process that is alone and idle has at most n descriptors. Some are closed by the garbage collector.
func (s *service) fewFDs(pid, n int) {
	s.Helper()
	s.wantAlone(pid)
	for timeout := time.After(10 * time.Second); ; {
		s.do("collect")
		all := fds(s, pid)
		if len(all) <= n {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-timeout:
			s.Errorf("generation %d has %d descriptors; want at most %d:\n%s", s.main().Gen, len(all), n, strings.Join(all, "\n"))
			return
		}
	}
}

func TestDescriptorsDoNotPileUp(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withControl)
	l := s.drive(4, time.Millisecond)
	for range 3 {
		s.swap()
	}
	s.wantAlone(s.main().PID)
	s.get("/whoami")
	early := len(fds(t, s.main().PID))
	for range 17 {
		s.swap()
	}
	s.fewFDs(s.main().PID, early+1) // a connection of the load may be counted that has just come
	l.end()
	s.stop()
}

func TestDescriptorsDoNotPileUpInFailedSwaps(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withControl)
	s.swap()
	pid := s.main().PID
	s.wantAlone(pid)
	fail := func(fault string, n int) {
		for range n {
			mark := s.mark()
			s.plan.Fault = fault
			s.replan()
			s.signal(pid, 1)
			s.eventSince(mark, 2, "swap failed")
		}
	}
	fail("ready fails", 2)
	s.wantAlone(pid)
	early := len(fds(t, pid))
	fail("ready fails", 4)
	fail("crash at start", 4)
	fail("preflight fails", 2)
	s.fewFDs(pid, early+1)
	s.plan.Fault = ""
	s.replan()
	s.swap()
	s.stop()
}

// What the service starts inherits neither its descriptors nor its variables.
func TestSubprocessInheritsNothing(t *testing.T) {
	t.Parallel()
	s := start(t, plan{}, withControl)
	l := s.drive(2, time.Millisecond)
	mine, err := exec.Command("/bin/ls", "-l", "/proc/self/fd").CombinedOutput() // whoever runs the test may leak some
	if err != nil {
		t.Skip(err)
	}
	link := regexp.MustCompile(`(?m) (\d+) -> (.*)$`)
	for gen := 1; gen <= 3; gen++ {
		a := s.get("/subprocess")
		if a.status != 200 || strings.Contains(a.body, "TABLEFLIP") {
			t.Errorf("generation %d: %d\n%s", gen, a.status, a.body)
		}
		n := 0
		for _, m := range link.FindAllStringSubmatch(a.body, -1) {
			n++
			if (len(m[1]) > 1 || m[1] > "2" && !strings.HasPrefix(m[2], "/proc/")) && !strings.Contains(string(mine), m[0]) {
				t.Errorf("generation %d: descriptor %s is %s", gen, m[1], m[2])
			}
		}
		if n < 3 {
			t.Errorf("not understood: %s", a.body)
		}
		s.swap()
	}
	l.end()
	s.stop()
}
