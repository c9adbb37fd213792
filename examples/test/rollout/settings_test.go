//go:build linux

package rollout

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestNumbers: a setting that is no number of seconds is found before anything is touched, wherever it is set.
func TestNumbers(t *testing.T) {
	s := newSite(t, "a b")
	s.start("v1")
	pids, v2 := s.runs("v1", "v1"), build(t, "v2", "")
	for _, c := range []struct{ name, value, say string }{
		{"EMPTY_TIMEOUT", "60s", "seconds"},
		{"STEP_TIMEOUT", "08", "seconds"},
		{"BALANCER_TIMEOUT", "1m", "seconds"},
		{"START_TIMEOUT", "-1", "seconds"},
		{"STOP_TIMEOUT", "7 5", "seconds"},
		{"RELOAD_TIMEOUT", "99999999999999999999", "seconds"},
		{"KEEP", "all", "a number from 1 to"},
		{"KEEP", "0", "a number from 1 to"},
		{"KILL", "yes", "0 or 1"},
	} {
		said := s.release(6, c.name+" is \""+c.value+"\"", "upgrade", v2, c.name+"="+c.value)
		if !strings.Contains(said, c.say) {
			t.Errorf("it says %q, want the cure, %q", said, c.say)
		}
		s.release(6, c.name, "--dry-run upgrade", v2, c.name+"="+c.value)
	}
	// So are those of the scripts that GATE and CHECK name.
	s.release(6, "ASK is \"1e2\": want a number", "upgrade", v2, "ASK=1e2", "GATE=sh "+deploy+"/gray/gate.sh")
	s.release(6, "which wants SITE_URL: set it", "upgrade", v2, "GATE=sh "+deploy+"/gray/gate.sh")
	s.release(6, "N is \"\u00bd\": want a number", "upgrade", v2, "N=\u00bd",
		"CHECK=sh "+s.script("check.sh", ": \"${N:=5}\"\n"))
	for _, line := range []string{"RELOAD_TIMEOUT=75s", "EMPTY_TIMEOUT=1m", "KEEP=x", "KILL=9"} {
		n := s.nodes[1]
		s.set("b", n.Settings()+"BIN='"+s.bin(n)+"'\n"+line+"\n")
		name, _, _ := strings.Cut(line, "=")
		s.release(6, name+" is ", "upgrade", v2)
		s.set("b", n.Settings()+"BIN='"+s.bin(n)+"'\n")
	}
	if s.runs("v1", "v1") != pids {
		t.Error("something was touched")
	}
	s.release(0, "there has been no release", "status", "")
	for _, setting := range []string{
		"START_TIMEOUT=1m", "STOP_TIMEOUT=60s", "RELOAD_TIMEOUT=08", "PULL_TIMEOUT=x", "RESTORE_TIMEOUT=1.5",
		"KILL=y",
	} {
		cmd := exec.Command("dash", deploy+"/control.sh", "status")
		cmd.Env = append(append(os.Environ(), s.nodes[0].Env()...), setting)
		name, _, _ := strings.Cut(setting, "=")
		if said, code := flow.Run(t, cmd); code != 6 || !strings.Contains(said, name+" is ") {
			t.Errorf("control.sh with %s: exit code %d, want 6: %s", setting, code, said)
		}
	}
	// A release that goes on is asked the same.
	s.release(0, "shared", "share", v2)
	s.release(6, "BALANCER_TIMEOUT", "continue", "", "BALANCER_TIMEOUT=1m")
	s.release(6, "STEP_TIMEOUT", "rollback", "", "STEP_TIMEOUT=1m")
	s.runs("v2", "v1")
}

// TestBalancerFile: what is wrong with a balancer's file is said alike by both scripts that load one.
func TestBalancerFile(t *testing.T) {
	s := newSite(t, "a")
	for balancer, say := range map[string]string{
		"varnish": "balancer/varnish.sh cannot be read: " +
			"set BALANCER to haproxy, nginx, keepalived, traefik, or a file of yours",
		s.script("half.sh", "balancer_settings() { :; }\n"): "does not define balancer_in",
		s.script("broken.sh", "balancer_settings() {\n"):    "is no shell script",
		s.script("out.sh", "balancer_settings() { :; }\nbalancer_in() { :; }\n"+
			"balancer_ready() { :; }\nbalancer_status() { :; }\n"): "does not define balancer_out",
	} {
		for _, script := range []string{"release.sh", "balancer.sh"} {
			cmd := exec.Command("dash", deploy+"/"+script, "status")
			cmd.Env = append(os.Environ(), "BALANCER="+balancer, "NODES=a b", "STATE="+s.dir+"/release")
			if said, code := flow.Run(t, cmd); code != 6 || !strings.Contains(said, say) {
				t.Errorf("%s with %s: exit code %d, %q; want 6, and %q", script, balancer, code, said, say)
			}
		}
	}
}

// elsewhere are the nodes as another machine's, which an ssh reaches that takes nothing along but its standard streams.
func (s *site) elsewhere(ssh string) []string {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := os.Symlink(filepath.Join(s.dir, "nodes"), filepath.Join(dir, "nodes")); err != nil {
		s.t.Fatal(err)
	}
	return []string{"ON=dash " + s.script("ssh.sh", ssh+"shift\nexec env -u SETTINGS -u CHECK \"$@\"\n"),
		"AT_NODE=env SITE=" + dir + "/nodes dash " + deploy + "/node.sh"}
}

// TestSettingsElsewhere: a release without SETTINGS leaves the service's as they are, over ssh too; one with none in
// it takes them away.
func TestSettingsElsewhere(t *testing.T) {
	s := newSite(t, "a")
	none := s.script("none.env", "NAME=x\n")
	some := s.script("some.env", "GATE=none\nAPP_DRAIN_TIMEOUT='11s' # longer") // the last line has no end
	for _, on := range [][]string{nil, s.elsewhere("")} {
		for i, c := range []struct {
			settings string
			want     bool
		}{{some, true}, {"", true}, {none, false}} {
			version := fmt.Sprint("v", 1+i%2)
			s.release(0, "complete", "upgrade", build(t, version, ""), append(on, "SETTINGS="+c.settings)...)
			environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.nodes[0].PID()))
			if got := strings.Contains(string(environ), "APP_DRAIN_TIMEOUT=11s\x00"); got != c.want {
				t.Errorf("SETTINGS is %q, ON %q: the service has its setting: %v, want %v", c.settings, on, got, c.want)
			}
		}
	}
}

// TestSettingsOfAnotherStep: a step that had to wait for another one has the settings that that one has left.
func TestSettingsOfAnotherStep(t *testing.T) {
	s := newSite(t, "a")
	n := s.nodes[0]
	s.release(0, "complete", "upgrade", build(t, "v1", ""), "SETTINGS="+s.script("some.env", "APP_DRAIN_TIMEOUT=11s\n"))
	n.Control("stop", "BIN="+s.bin(n))
	cmd := exec.Command("dash", deploy+"/node.sh", "start", "a")
	cmd.Env = append(os.Environ(), "SITE="+s.dir+"/nodes",
		s.path("flock", "sed -i s/11s/12s/ '"+s.bin(n)+".releases/1/env'\nexec REAL \"$@\"\n"))
	if said, code := flow.Run(t, cmd); code != 0 {
		t.Fatalf("exit code %d, want 0: %s", code, said)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n.PID()))
	if !strings.Contains(string(environ), "APP_DRAIN_TIMEOUT=12s\x00") {
		t.Errorf("%v: %q, want a drain timeout of 12s", err, environ)
	}
}

// TestStandardInput: a look at a node leaves it to whom it belongs. An ssh that reads it would stop a release in the
// background of a terminal.
func TestStandardInput(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"ON", "NODE_STATE"} {
		cmd := exec.Command("dash", "-c", "set -- a; . "+deploy+"/common.sh; . "+deploy+"/balancer/keepalived.sh; "+
			"balancer_ready a && cat")
		ssh := flow.WriteFile(t, t.TempDir(), "ssh.sh", "cat >/dev/null\necho UP\n")
		cmd.Env = append(os.Environ(), how+"=dash "+ssh)
		cmd.Stdin = strings.NewReader("left")
		if said, code := flow.Run(t, cmd); code != 0 || said != "left" {
			t.Errorf("with %s: exit code %d, %q is left, want all", how, code, said)
		}
	}
}

// TestDriver: whatever the name of the script in control.sh's place is, a release starts, swaps, and restarts for new
// settings, and what does not run is not live.
func TestDriver(t *testing.T) {
	s := newSite(t, "a")
	driver := s.script("driver.sh", "exec dash "+deploy+"/control.sh \"$@\"\n")
	n := s.nodes[0]
	s.set("a", n.Settings()+"BIN='"+s.bin(n)+"'\nCONTROL_SH='"+driver+"'\n")
	s.release(0, "complete", "upgrade", build(t, "v1", ""))
	pid := n.PID()
	s.release(0, "complete", "upgrade", build(t, "v2", ""))
	if who := n.Whoami(); who.Generation != 2 || who.PID == pid {
		t.Errorf("a answers %+v, want generation 2: a swap", who)
	}
	s.release(0, "complete", "upgrade", build(t, "v1", ""), "SETTINGS="+s.script("app.env", "APP_DRAIN_TIMEOUT=11s\n"))
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", n.PID()))
	if !strings.Contains(string(environ), "APP_DRAIN_TIMEOUT=11s\x00") {
		t.Error("SETTINGS has not reached a")
	}
	s.runs("v1")
	node := func(verb string) (string, int) {
		cmd := exec.Command("dash", deploy+"/node.sh", verb, "a")
		cmd.Env = append(os.Environ(), "SITE="+filepath.Join(s.dir, "nodes"))
		return flow.Run(t, cmd)
	}
	if said, code := node("live"); code != 0 {
		t.Errorf("live: %d, want 0: %s", code, said)
	}
	n.Control("stop", "BIN="+s.bin(n))
	if said, code := node("live"); code != 1 || !strings.Contains(said, "nothing runs") {
		t.Errorf("live, when stopped: %d, want 1: %s", code, said)
	}
}

// TestMissing: a command that is not there is named, and no answer is taken for one.
func TestMissing(t *testing.T) {
	s := newSite(t, "a")
	s.start("v1")
	dir := t.TempDir()
	for _, tools := range filepath.SplitList(os.Getenv("PATH")) {
		files, _ := filepath.Glob(tools + "/*")
		for _, file := range files {
			_ = os.Symlink(file, filepath.Join(dir, filepath.Base(file)))
		}
	}
	for _, name := range []string{"cksum", "cmp", "curl", "flock"} {
		tool := filepath.Join(dir, name)
		if err := os.Rename(tool, tool+".gone"); err != nil {
			t.Fatal(err)
		}
		said := s.release(6, "", "upgrade", build(t, "v2", ""), "PATH="+dir)
		if !strings.Contains(said, "needs "+name) {
			t.Errorf("without %s it says %q", name, said)
		}
		s.runs("v1")
		if err := os.Rename(tool+".gone", tool); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoEngine: an engine that does not answer is no container that does not run, and a tag is wanted, since an image
// without one is another one tomorrow.
func TestNoEngine(t *testing.T) {
	t.Parallel()
	flow.Tool(t, "flock", "apt-get install util-linux")
	for _, c := range []struct {
		command, say string
		code         int
	}{
		{"docker/docker.sh stop", "the engine does not answer", 6},
		{"docker/docker.sh status", "the engine does not answer", 6},
		{"swarm/swarm.sh status", "the engine does not answer", 6},
		{"swarm/swarm.sh update app:v2", "the engine does not answer", 6},
		{"swarm/swarm.sh update host:5000/app", "has no tag", 2},
		{"traefik/compose.sh status", "", 4},
	} {
		args := strings.Fields(c.command)
		cmd := exec.Command("dash", deploy+"/"+args[0])
		cmd.Args = append(cmd.Args, args[1:]...)
		cmd.Env = append(os.Environ(), "DOCKER=false", "DIR="+t.TempDir(), "NODE=a", "BIN=/a")
		if said, code := flow.Run(t, cmd); code != c.code || !strings.Contains(said, c.say) {
			t.Errorf("%s: exit code %d, want %d and %q: %s", c.command, code, c.code, c.say, said)
		}
	}
}
