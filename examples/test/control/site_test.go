//go:build unix

// Package control drives control.sh, as an operator would, against builds
// of the example services.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

const patience = flow.Patience

func TestMain(m *testing.M) { flow.Main(m) }

// build returns a build of examples/<service>, made once for all tests.
func build(t *testing.T, service, version, fault string) string {
	t.Helper()
	return flow.Build(t, service, version, fault)
}

// tool returns the path of a program that a test cannot do without.
func tool(t *testing.T, name string) string {
	t.Helper()
	return flow.Tool(t, name, "install it")
}

// site is a folder with a deployed service, and an operator's settings for it.
type site struct {
	t       *testing.T
	service string
	shell   []string
	addr    string
	flags   []string
	env     []string
}

// newSite deploys version v1. Nothing runs yet.
func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	s := &site{t: t, service: "gin", shell: []string{tool(t, "dash")}, addr: flow.Host() + ":8080"}
	// A test that has asked /ping is a prober, and each stop would wait for it.
	s.flags = append([]string{"-pull-max", "1s"}, flags...)
	// TempDir's name may have what ARGS cannot hold, and a socket or ps cut short.
	dir, err := os.MkdirTemp("", "site")
	if err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"BIN=" + filepath.Join(dir, "app"),
		"PIDFILE=" + filepath.Join(dir, "pid"),
		"LOG=" + filepath.Join(dir, "log"),
		"CONTROL=" + filepath.Join(dir, "sock"),
	}
	t.Cleanup(func() {
		log, _ := os.ReadFile(s.setting("LOG"))
		if bytes.Contains(log, []byte("DATA RACE")) {
			t.Error("the service has a data race")
		}
		s.killAll()
		if t.Failed() {
			log, _ = os.ReadFile(s.setting("LOG")) // with what killAll has added
			t.Logf("the log of the service:\n%s", log)
		}
		_ = os.RemoveAll(dir)
	})
	s.deploy(build(t, s.service, "v1", ""))
	return s
}

func (s *site) setting(name string) (value string) {
	for _, e := range s.env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// deploy puts another build in place.
func (s *site) deploy(build string) {
	s.t.Helper()
	flow.Deploy(s.t, build, s.setting("BIN"))
}

// run runs control.sh and returns what it said and its exit code.
func (s *site) run(verb string, env ...string) (string, int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.shell[0], append(s.shell[1:], "../../deploy/control.sh", verb)...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Env = append(cmd.Env, "ARGS="+strings.Join(append([]string{"-addr", s.addr}, s.flags...), " "))
	cmd.Env = append(cmd.Env, env...)
	// A file and no pipe: waiting for the end of a pipe would hide a service
	// that has kept the script's output open.
	out, err := os.CreateTemp(s.t.TempDir(), verb)
	if err != nil {
		s.t.Error(err)
		return "", -1
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.t.Errorf("control.sh %s: %v", verb, err)
	}
	said, _ := os.ReadFile(out.Name())
	return string(said), cmd.ProcessState.ExitCode()
}

// want runs control.sh, and expects an exit code and words in what it says.
func (s *site) want(code int, words, verb string, env ...string) {
	s.t.Helper()
	said, got := s.run(verb, env...)
	s.t.Logf("control.sh %s: %d, %s", verb, got, said)
	if got != code {
		s.t.Fatalf("control.sh %s: exit code %d, want %d", verb, got, code)
	}
	if !strings.Contains(said, words) {
		s.t.Fatalf("control.sh %s does not say %q", verb, words)
	}
}

// pid returns what the PID file says, 0 if there is none.
func (s *site) pid() int {
	b, err := os.ReadFile(s.setting("PIDFILE"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(b))) // a test may have put nonsense there
	return pid
}

type identity struct {
	PID, Generation int
	Phase, Version  string
}

func (s *site) whoami() (who identity) {
	s.t.Helper()
	res, body := s.get("/whoami")
	if err := json.Unmarshal(body, &who); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("/whoami: %s %s (%v)", res.Status, body, err)
	}
	return who
}

// get is a request on a connection of its own.
func (s *site) get(path string) (*http.Response, []byte) {
	s.t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.addr + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, body
}

// serves asserts who is in charge, by PID file, /whoami and /ping alike. An old generation may still take a connection
// when the new one is in charge, so that is to be alone.
func (s *site) serves(pid int, version string, ping int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d is alone", pid), func() bool {
		return !slices.ContainsFunc(s.living(), func(other int) bool { return other != pid })
	})
	if who := s.whoami(); who.PID != pid || who.Version != version || s.pid() != pid {
		s.t.Fatalf("%+v answers and the PID file says %d, want %d and %s", who, s.pid(), pid, version)
	}
	if res, body := s.get("/ping"); res.StatusCode != ping {
		s.t.Fatalf("/ping: %s %s, want %d", res.Status, body, ping)
	}
}

// eventually waits for a fact.
func (s *site) eventually(what string, fact func() bool) {
	s.t.Helper()
	flow.Eventually(s.t, what, fact)
}

// alive: a zombie is not.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return !strings.Contains(string(stat), ") Z ")
	}
	return syscall.Kill(pid, 0) == nil
}

// living is what runs from this site's folder, whichever generation it is.
func (s *site) living() []int { return flow.Running(filepath.Dir(s.setting("BIN")) + "/") }

// killAll ends them.
func (s *site) killAll() {
	for _, pid := range append(s.living(), s.pid()) {
		if pid <= 1 || !s.runs(pid) {
			continue
		}
		if s.t.Failed() {
			// Where it hangs is then in its log.
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			for end := time.Now().Add(time.Second); alive(pid) && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// runs tells a process of this site from a stranger that a test named in the PID file.
func (s *site) runs(pid int) bool {
	out, err := exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), s.setting("BIN"))
}
