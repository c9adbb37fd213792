//go:build unix

package control

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// command runs the deployed binary with -s and wants an exit code, and words on standard error.
func (s *site) command(code int, words, command string) (stdout string) {
	s.t.Helper()
	cmd := exec.Command(s.setting("BIN"), "-control", s.setting("CONTROL"), "-s", command)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(errs.String(), words) {
		s.t.Fatalf("-s %s: exit code %d, %q; want %d and %q", command, got, errs.String(), code, words)
	}
	if code == 0 && errs.Len() > 0 {
		s.t.Errorf("-s %s: %s", command, errs.String())
	}
	return out.String()
}

// ExecReload= and ExecStop= go by the exit code alone.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"gin", "nethttp"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.service = service
			s.flags = append(s.flags, "-probation", "100ms")
			s.deploy(build(t, service, "v1", ""))
			s.command(1, "does the service run", "reload")
			s.want(0, "started", "start")
			first := s.pid()

			s.deploy(build(t, service, "v2", "crash"))
			reload := exec.Command(build(t, service, "v1", ""), "-control", s.setting("CONTROL"), "-s", "reload")
			out, err := reload.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "generation 1 serves on") ||
				!strings.Contains(string(out), "exit status 3") {
				t.Fatalf("-s reload to a broken binary: %v, %s", err, out)
			}
			s.serves(first, "v1", 200)

			s.deploy(build(t, service, "v2", ""))
			s.command(0, "", "reload")
			s.eventually("the PID file is the new one's", func() bool { return s.pid() != first })
			s.serves(s.pid(), "v2", 200)
			s.command(0, "", "pull")
			s.serves(s.pid(), "v2", 501)
			s.command(0, "", "restore")
			s.serves(s.pid(), "v2", 200)
			var status struct{ PID, Generation int }
			err = json.Unmarshal([]byte(s.command(0, "", "status")), &status)
			if err != nil || status.PID != s.pid() || status.Generation != 2 {
				t.Errorf("status: %+v, %v; want pid %d", status, err, s.pid())
			}
			s.command(1, "want status", "start")

			pid := s.pid()
			s.command(0, "", "stop")
			if alive(pid) {
				t.Error("stop has ended, and the process lives")
			}
			s.command(1, "does the service run", "stop")
		})
	}
}
