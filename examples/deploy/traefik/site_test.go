//go:build linux

package traefik

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// site is this folder as an operator has it, with a Traefik that runs, at an
// address of its own.
type site struct {
	t       *testing.T
	host    string
	dir     string
	traefik *flow.Process
}

func newSite(t *testing.T, args ...string) *site {
	t.Helper()
	bin := flow.Tool(t, "traefik", "run .ci/get-traefik DIR and put DIR on the PATH")
	flow.Tool(t, "dash", "apt-get install dash")
	flow.Tool(t, "flock", "apt-get install util-linux")
	s := &site{t: t, host: flow.Host(), dir: flow.Dir(t)}
	// Quicker probes, as nothing but waiting hangs on them.
	own := strings.NewReplacer("127.0.0.1", s.host, "nterval: 1s", "nterval: 200ms",
		"ARGS='", "ARGS='"+strings.Join(append(args, ""), " "))
	for _, name := range []string{"traefik.yml", "conf.d/app.yml", "site/blue", "site/green"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(s.path(name)), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		flow.WriteFile(t, s.dir, name, own.Replace(string(text)))
	}
	t.Cleanup(func() {
		for _, colour := range []string{"blue", "green"} {
			log, _ := os.ReadFile(s.path(colour + "/log"))
			if t.Failed() {
				t.Logf("the log of %s:\n%s", colour, log)
			}
			for _, pid := range s.running(colour) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	cmd := exec.Command(bin, "--configFile=traefik.yml")
	cmd.Dir = s.dir
	s.traefik = flow.Start(t, cmd)
	s.traefik.Answers(t, s.web())
	// Its API listens a moment before it has anything to say.
	flow.Eventually(t, "Traefik's API answers", func() bool {
		res, err := http.Get("http://" + s.host + ":8099/api/version")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }
func (s *site) web() string             { return s.host + ":8000" }

func (s *site) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("dash", append([]string{filepath.Join(flow.Examples(), "deploy", "release.sh")}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "BALANCER=traefik", "PREVIEW=http://"+s.host+":8001", "API=http://"+s.host+":8099")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// release runs release.sh, and wants that exit code.
func (s *site) release(want int, env []string, args ...string) string {
	s.t.Helper()
	said, code := flow.Run(s.t, s.command(env, args...))
	s.t.Logf("%s: release.sh %s: %d\n%s", s.host, strings.Join(args, " "), code, said)
	if code != want {
		s.t.Fatalf("%s: release.sh %s: exit code %d, want %d", s.host, strings.Join(args, " "), code, want)
	}
	return said
}

// running are the processes of a colour, whatever file they have been started from.
func (s *site) running(colour string) []int { return flow.Running(s.path(colour) + "/app") }

// only wants a colour live and the other one gone. It returns the live pid.
func (s *site) only(colour, version string) int {
	s.t.Helper()
	other := map[string]string{"blue": "green", "green": "blue"}[colour]
	if pids := s.running(other); len(pids) > 0 {
		s.t.Fatalf("%s still runs: %v", other, pids)
	}
	pids := s.running(colour)
	who := flow.Whoami(s.t, "http://"+s.web())
	if len(pids) != 1 || who.PID != pids[0] || who.Version != version || who.Phase != "ready" {
		s.t.Fatalf("through Traefik answers %+v, want version %s of %s, whose processes are %v",
			who, version, colour, pids)
	}
	return pids[0]
}

func (s *site) build(version, fault string) string { return flow.Build(s.t, "nethttp", version, fault) }

// active is the number of requests in flight as the colour's control socket has it.
func (s *site) active(colour string) int {
	s.t.Helper()
	out, err := exec.Command(s.path(colour+"/app"), "-control", s.path(colour+"/control"), "-s", "status").Output()
	var status struct{ Open struct{ Active int } }
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		s.t.Fatalf("status of %s: %v", colour, err)
	}
	return status.Open.Active
}
