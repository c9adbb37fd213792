package drain_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cgroup makes a control group whose memory is limited, in this process's if that can be. It returns
// the file that takes a process's number.
func cgroup(t testing.TB, limit int) (procs string) {
	t.Helper()
	text := string(have(os.ReadFile("/proc/self/cgroup"))(t))
	_, own, _ := strings.Cut(text, ":memory:")
	own, _, _ = strings.Cut(own, "\n")
	var errs []error
	for _, version := range []struct{ parent, limit string }{
		{"/sys/fs/cgroup/memory" + own, "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		dir := fmt.Sprintf("%s/baton-%d-%d", version.parent, os.Getpid(), time.Now().UnixNano())
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			t.Cleanup(func() { must(t, os.Remove(dir)) })
			err = os.WriteFile(filepath.Join(dir, version.limit), fmt.Append(nil, limit), 0)
		}
		if err == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
		errs = append(errs, err)
	}
	t.Skip("no cgroup whose memory can be limited:", errors.Join(errs...))
	return ""
}

// behind starts a service by a shell of root's, and as a user.
func behind(shell string, user int) func(*service, *exec.Cmd) {
	return func(s *service, cmd *exec.Cmd) {
		if os.Geteuid() != 0 {
			s.Skip("needs root")
		}
		must(s, os.Chown(s.dir, user, user))
		cmd.Path = "/bin/sh"
		cmd.Args = []string{"sh", "-c", fmt.Sprintf("%s; exec setpriv --reuid %d --regid %[2]d --clear-groups %s",
			shell, user, s.binary)}
	}
}

func (s *service) wantScore(pid int, want string) {
	s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if strings.TrimSpace(string(text)) != want {
		s.Errorf("the score of %d is %q, %v; want %s", pid, text, err, want)
	}
}

// Where memory runs out in a swap the kernel kills what is new, be the old generation ever so much bigger. It may kill
// another one while the first still frees its memory: so the old one is halted, and takes none.
func TestWhereMemoryRunsOutTheOldGenerationServesOn(t *testing.T) {
	type row struct {
		script string
		user   int
	}
	const big, limit = 300, 500
	each(t, map[string]row{
		"the program": {}, "of a user": {user: 65534}, "in a script": {script: "$real; exit $?"},
	}, func(t *testing.T, c row) {
		s := start(t, plan{Weight: big}, unheard, behind("echo $$ >"+cgroup(t, limit*mib), c.user))
		s.installReal()
		if c.script != "" {
			s.replace(s.script(c.script))
		}
		l, old, mark := s.drive(1, 4*time.Millisecond), s.main(), s.mark()
		open := s.beginSwap("before New")
		candidate := s.noteSince(mark, 0, "at the gate").PID
		s.halt(old.PID)
		open()
		s.eventually("the end of the candidate", func() bool {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", candidate))
			return err != nil || strings.Contains(string(status), "State:\tZ") &&
				strings.Contains(string(status), "Threads:\t1\n")
		})
		must(t, syscall.Kill(old.PID, syscall.SIGCONT))
		s.wantFailed(l, mark, old, "memory ran out")
		s.plan.Weight = 0
		s.replan()
		s.install()
		s.swap()
		l.end()
		s.stop()
		s.wantNothingLost()
	})
}

// Each main generation has the score that the service was started with, for itself and for what it starts.
func TestScoreIsThatOfTheStart(t *testing.T) {
	type row struct {
		user  int
		score string
	}
	eachOf(t, func(t *testing.T, c row) {
		s := start(t, plan{}, behind("echo "+c.score+" >/proc/self/oom_score_adj", c.user))
		for range 2 {
			old, mark := s.main(), s.mark()
			open := s.beginSwap("before New")
			s.wantScore(s.noteSince(mark, 0, "at the gate").PID, "1000")
			s.wantScore(old.PID, c.score)
			open()
			next := s.await(mark, "a swap", func(r record) bool { return r.Msg == "promoted" })
			s.wantScore(next.PID, c.score)
		}
		s.stop()
	}, row{0, "0"}, row{0, "300"}, row{65534, "0"}, row{65534, "300"}, row{65534, "1000"})
}
